"""The store that the workers of one host share, in the app's folder under /run."""

import os
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from svc.cluster.caching import entries
from svc.cluster.caching.claims import HostClaim
from svc.cluster.caching.environment import LARGEST, Environment
from svc.cluster.caching.store import Claim, Clock, added

if TYPE_CHECKING:
    from svc.cluster.caching.entries import Writing

PARTS = 4
"""The store is divided by the keys' hashes into so many, for there is one writer at a time in each. They are
as many whatever the size: workers of before and after a change of it must look for a key in the same part.
"""


class Embedded:
    """The entries of all workers of this host. `size` is in bytes; `folder` is made if it is missing.

    In each part, what was set longest ago makes room.

    The clock must be the same for all processes: CLOCK_MONOTONIC is (clock_gettime(2)), and no one
    sets it.
    """

    poll = 0.001

    def __init__(self, folder: Path, size: int, clock: Clock = time.monotonic) -> None:
        self.folder = folder
        self.size = size
        self._clock = clock
        self._parts: list[Environment] = []
        try:
            for part in range(PARTS):
                self._parts.append(Environment(folder / f"{part}", size // PARTS, among=PARTS))
        except BaseException:
            self.close()
            raise
        _opened.add(self)

    def close(self) -> None:
        """See Store."""
        _opened.discard(self)
        for part in self._parts:
            part.close()

    def get(self, key: bytes) -> bytes | None:
        """See Store."""
        record = self._part(key).get(key)
        if record is None:
            return None
        end = entries.end_of(record)
        if end != entries.NEVER and end <= self._clock():
            return None
        return entries.value_of(record)

    def set(self, key: bytes, value: bytes, ttl: float | None) -> None:
        """See Store."""
        part = self._part(key)
        _fits(part, value)
        part.write(lambda txn: _put(part, txn, key, value, entries.expiry(ttl, self._clock())))

    def add(self, key: bytes, value: bytes, ttl: float | None) -> bool:
        """See Store."""
        part = self._part(key)

        def work(txn: "Writing") -> bool:
            now = self._clock()
            if entries.live(txn, key, now) is not None:
                return False
            _put(part, txn, key, value, entries.expiry(ttl, now))
            return True

        _fits(part, value)
        return part.write(work)

    def swap(self, key: bytes, old: bytes, new: bytes, ttl: float | None) -> bool:
        """See Store."""
        part = self._part(key)

        def work(txn: "Writing") -> bool:
            now = self._clock()
            record = entries.live(txn, key, now)
            if record is None or entries.value_of(record) != old:
                return False
            _put(part, txn, key, new, entries.expiry(ttl, now))
            return True

        _fits(part, new)
        return part.write(work)

    def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """See Store."""
        part = self._part(key)

        def work(txn: "Writing") -> int:
            now = self._clock()
            record = entries.live(txn, key, now)
            value = added(b"0" if record is None else entries.value_of(record), by)
            end = entries.expiry(ttl, now) if record is None else entries.end_of(record)
            _put(part, txn, key, value, end)
            return int(value)

        return part.write(work)

    def delete(self, key: bytes) -> bool:
        """See Store."""

        def work(txn: "Writing") -> bool:
            was = entries.live(txn, key, self._clock()) is not None
            entries.drop(txn, key)
            return was

        return self._part(key).write(work)

    def clear(self) -> None:
        """See Store."""
        for part in self._parts:
            part.write(part.drop_all)

    def claim(self, key: bytes) -> Claim:
        """See Store."""
        return HostClaim(self.folder / "computing", key)

    def _part(self, key: bytes) -> Environment:
        return self._parts[crc32(key) % PARTS]


def _fits(part: Environment, value: bytes) -> None:
    largest = part.room // LARGEST
    if len(value) > largest:
        raise ValueError(
            f"a value of {len(value)} bytes is too large: at most {largest}, 1/{LARGEST * PARTS} of "
            "the cache (`cache` in [cluster]; less where /run is small)"
        )


def _put(part: Environment, txn: "Writing", key: bytes, value: bytes, end: float) -> None:
    entries.put(txn, key, value, end)
    part.keep_room(txn, key)


_opened: "weakref.WeakSet[Embedded]" = weakref.WeakSet()
_forking: list[Environment] = []
_one_fork = threading.Lock()  # two threads may fork at once, and the functions below run for both


def _before_fork() -> None:
    _one_fork.acquire()
    _forking[:] = [part for store in _opened for part in store._parts]
    for environment in _forking:
        environment.before_fork()


def _after_fork(*, child: bool) -> None:
    try:
        while _forking:
            _forking.pop().after_fork(child=child)
    finally:
        _one_fork.release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=partial(_after_fork, child=False),
    after_in_child=partial(_after_fork, child=True),
)
