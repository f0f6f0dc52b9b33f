"""The cache of all hosts, on the server. See `svc.cluster.caching.store` for what each method does.

Values and keys are those of the other stores, so the server counts on whole numbers itself.
"""

import math
from pathlib import Path
from typing import Any

from svc.cluster.caching.claims import HostClaim
from svc.cluster.caching.store import added
from svc.cluster.errors import CacheError, ServerRefused
from svc.cluster.hosts.lease import Lease
from svc.cluster.hosts.server import Server

_LONGEST_MS = 10**15
"""30,000 years: the server refuses times that its clock cannot reach."""

_AT_A_TIME = 1000

_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then redis.call('DEL', KEYS[1])
elseif ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
_INCR = """
local known = redis.call('EXISTS', KEYS[1])
redis.call('INCRBY', KEYS[1], ARGV[1])
local value = redis.call('GET', KEYS[1])
if known == 0 then
  if ARGV[2] == '0' then redis.call('DEL', KEYS[1])
  elseif ARGV[2] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
end
return value
"""


class HostsStore:
    """The entries of the app on the server. `folder` is where the workers of this host share claims."""

    poll = 0.005

    def __init__(self, server: Server, host: str, folder: Path) -> None:
        self._server = server
        self._host = host
        self._folder = folder
        self._prefix = server.key("cache") + b":"

    @property
    def returns(self) -> int:
        """How often the server has come back."""
        return self._server.returns

    def get(self, key: bytes) -> bytes | None:
        """See Store."""
        found: bytes | None = self._server.ask(lambda client: client.get(self._prefix + key))
        return found

    def set(self, key: bytes, value: bytes, ttl: float | None) -> None:
        """See Store."""
        ms = _ms(ttl)
        if ms == 0:
            self.delete(key)
        else:
            self._server.ask(lambda client: client.set(self._prefix + key, value, px=ms))

    def add(self, key: bytes, value: bytes, ttl: float | None) -> bool:
        """See Store."""
        ms = _ms(ttl)
        if ms == 0:
            return not self._server.ask(lambda client: client.exists(self._prefix + key))
        return bool(self._server.ask(lambda client: client.set(self._prefix + key, value, px=ms, nx=True)))

    def swap(self, key: bytes, old: bytes, new: bytes, ttl: float | None) -> bool:
        """See Store."""
        return bool(self._server.run(_SWAP, [self._prefix + key], old, new, _text(ttl)))

    def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """See Store."""
        try:
            return int(self._server.run(_INCR, [self._prefix + key], by, _text(ttl)))
        except ServerRefused:
            added(self.get(key) or b"0", by)  # says what is wrong with the value, if that is it
            raise

    def delete(self, key: bytes) -> bool:
        """See Store."""
        return bool(self._server.ask(lambda client: client.delete(self._prefix + key)))

    def clear(self) -> None:
        """See Store. What others set meanwhile may stay."""

        def work(client: Any) -> None:
            cursor = 0
            while True:
                cursor, keys = client.scan(cursor, match=self._prefix + b"*", count=_AT_A_TIME)
                if keys:
                    client.unlink(*keys)
                if cursor == 0:
                    return

        self._server.ask(work)

    def claim(self, key: bytes) -> "HostsClaim":
        """See Store."""
        lease = Lease(self._server, self._server.key("computing", key), self._host)
        return HostsClaim(HostClaim(self._folder / "computing", key), lease)

    def close(self) -> None:
        """See Store. The connection belongs to all that use the server."""


class HostsClaim:
    """A claim of which first the host's processes are sure, and then the hosts. `first`: whether it is the
    only one of this host.
    """

    def __init__(self, ours: HostClaim, lease: Lease) -> None:
        self._ours = ours
        self._lease = lease
        self.first = False

    def acquire(self) -> bool:
        """See Claim."""
        if not self.first:
            try:
                self.first = self._ours.acquire()
            except OSError as error:
                raise CacheError(f"there can be no claim: {error}") from error
        return self.first and self._lease.acquire()

    def release(self) -> None:
        """See Claim."""
        try:
            self._lease.release()
        finally:
            self._ours.release()


def _ms(ttl: float | None) -> int | None:
    """Milliseconds, at least one; 0: gone at once."""
    if ttl is None or ttl == math.inf:
        return None
    return 0 if ttl <= 0 else min(math.ceil(ttl * 1000), _LONGEST_MS)


def _text(ttl: float | None) -> str:
    ms = _ms(ttl)
    return "" if ms is None else str(ms)
