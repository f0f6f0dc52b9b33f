"""The store that the workers of one host share, in the app's folder under /run."""

import os
import time
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from svc.cluster.caching import entries
from svc.cluster.caching.claims import HostClaim
from svc.cluster.caching.environment import Environment
from svc.cluster.caching.store import Claim, Clock, added

if TYPE_CHECKING:
    from svc.cluster.caching.entries import Writing

EVICTED_AT_A_TIME = 64
"""So that a store that became smaller does not shrink within one call."""

LARGEST = 16
"""A value may have this part of the size."""


class Embedded:
    """The entries of all workers of this host. `size` is in bytes; `folder` is made if it is missing.

    The clock must be the same for all processes: CLOCK_MONOTONIC is (clock_gettime(2)), and no one
    sets it.
    """

    poll = 0.001

    def __init__(self, folder: Path, size: int, clock: Clock = time.monotonic) -> None:
        self.folder = folder
        self.size = size
        self._clock = clock
        self._environment = Environment(folder, size)
        _opened.add(self)

    def close(self) -> None:
        """See Store."""
        _opened.discard(self)
        self._environment.close()

    def get(self, key: bytes) -> bytes | None:
        """See Store."""
        record = self._environment.get(key)
        if record is None:
            return None
        end = entries.end_of(record)
        if end != entries.NEVER and end <= self._clock():
            return None
        return entries.value_of(record)

    def set(self, key: bytes, value: bytes, ttl: float | None) -> None:
        """See Store."""
        self._fits(value)
        self._environment.write(lambda txn: self._put(txn, key, value, entries.expiry(ttl, self._clock())))

    def add(self, key: bytes, value: bytes, ttl: float | None) -> bool:
        """See Store."""

        def work(txn: "Writing") -> bool:
            now = self._clock()
            if entries.live(txn, key, now) is not None:
                return False
            self._put(txn, key, value, entries.expiry(ttl, now))
            return True

        self._fits(value)
        return self._environment.write(work)

    def swap(self, key: bytes, old: bytes, new: bytes, ttl: float | None) -> bool:
        """See Store."""

        def work(txn: "Writing") -> bool:
            now = self._clock()
            record = entries.live(txn, key, now)
            if record is None or entries.value_of(record) != old:
                return False
            self._put(txn, key, new, entries.expiry(ttl, now))
            return True

        self._fits(new)
        return self._environment.write(work)

    def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """See Store."""

        def work(txn: "Writing") -> int:
            now = self._clock()
            record = entries.live(txn, key, now)
            value = added(b"0" if record is None else entries.value_of(record), by)
            end = entries.expiry(ttl, now) if record is None else entries.end_of(record)
            self._put(txn, key, value, end)
            return int(value)

        return self._environment.write(work)

    def delete(self, key: bytes) -> bool:
        """See Store."""

        def work(txn: "Writing") -> bool:
            was = entries.live(txn, key, self._clock()) is not None
            entries.drop(txn, key)
            return was

        return self._environment.write(work)

    def clear(self) -> None:
        """See Store."""
        self._environment.write(self._environment.drop_all)

    def claim(self, key: bytes) -> Claim:
        """See Store."""
        return HostClaim(self.folder / "computing", key)

    def _put(self, txn: "Writing", key: bytes, value: bytes, end: float) -> None:
        entries.put(txn, key, value, end)
        self._environment.evict(txn, EVICTED_AT_A_TIME, self._environment.pages, key)

    def _fits(self, value: bytes) -> None:
        room = self._environment.room
        if len(value) * LARGEST > room:
            raise ValueError(
                f"a value of {len(value)} bytes is too large: at most 1/{LARGEST} of the cache's {room} bytes"
            )


_opened: "weakref.WeakSet[Embedded]" = weakref.WeakSet()
_forking: list[Environment] = []


def _before_fork() -> None:
    _forking[:] = [store._environment for store in _opened]
    for environment in _forking:
        environment.before_fork()


def _after_fork(*, child: bool) -> None:
    while _forking:
        _forking.pop().after_fork(child=child)


os.register_at_fork(
    before=_before_fork,
    after_in_parent=partial(_after_fork, child=False),
    after_in_child=partial(_after_fork, child=True),
)
