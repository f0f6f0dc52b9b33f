"""The cache of this host for as long as the server is away, where the app asks for that."""

from collections.abc import Callable
from typing import TypeVar

from svc.cluster.caching.store import Store
from svc.cluster.errors import ServerAway
from svc.cluster.hosts.store import HostsClaim, HostsStore

T = TypeVar("T")

_BEFORE = -1


class Fallback:
    """`shared` while its server answers, else `local`, which is emptied when the server is back: what it has
    would be of an earlier outage in the next one.
    """

    poll = HostsStore.poll

    def __init__(self, shared: HostsStore, local: Store) -> None:
        self._shared = shared
        self._local = local
        # How often the server had come back when `local` was used last, which is to be emptied; None where it
        # was. At first it may have what an earlier process left, also in the outage that there is now.
        self._returns: int | None = _BEFORE

    def _do(self, work: Callable[[Store], T]) -> T:
        try:
            done = work(self._shared)
        except ServerAway:
            if self._returns not in (None, _BEFORE, self._shared.returns):
                self._local.clear()  # nothing was asked between two outages
            self._returns = self._shared.returns
            return work(self._local)
        if self._returns is not None and self._returns != self._shared.returns:
            self._returns = None
            self._local.clear()
        return done

    def get(self, key: bytes) -> bytes | None:
        """See Store."""
        return self._do(lambda store: store.get(key))

    def set(self, key: bytes, value: bytes, ttl: float | None) -> None:
        """See Store."""
        self._do(lambda store: store.set(key, value, ttl))

    def add(self, key: bytes, value: bytes, ttl: float | None) -> bool:
        """See Store."""
        return self._do(lambda store: store.add(key, value, ttl))

    def swap(self, key: bytes, old: bytes, new: bytes, ttl: float | None) -> bool:
        """See Store."""
        return self._do(lambda store: store.swap(key, old, new, ttl))

    def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """See Store."""
        return self._do(lambda store: store.incr(key, by, ttl))

    def delete(self, key: bytes) -> bool:
        """See Store."""
        return self._do(lambda store: store.delete(key))

    def clear(self) -> None:
        """See Store."""
        self._do(lambda store: store.clear())

    def claim(self, key: bytes) -> "FallbackClaim":
        """See Store."""
        return FallbackClaim(self._shared.claim(key))

    def close(self) -> None:
        """See Store."""
        self._shared.close()
        self._local.close()


class FallbackClaim:
    """A claim of all hosts; while the server is away, of this host."""

    def __init__(self, claim: HostsClaim) -> None:
        self._claim = claim

    def acquire(self) -> bool:
        """See Claim."""
        try:
            return self._claim.acquire()
        except ServerAway:
            return self._claim.first

    def release(self) -> None:
        """See Claim."""
        self._claim.release()
