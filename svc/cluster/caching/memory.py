"""Entries in this process alone: the cache of an application that svc does not run."""

import threading
import time

from svc.cluster.caching.store import Clock, added

ENTRY = 128
"""Bytes, about what an entry costs besides its key and value."""


class Memory:
    """A store in a dict, of about `size` bytes. For any number of threads."""

    poll = 0.001

    def __init__(self, size: int, clock: Clock = time.monotonic) -> None:
        self.size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._used = 0
        self._entries: dict[bytes, tuple[float, bytes]] = {}  # in the order in which they were set
        self._claimed: set[bytes] = set()

    def get(self, key: bytes) -> bytes | None:
        """See Store."""
        entry = self._entries.get(key)
        return None if entry is None or entry[0] <= self._clock() else entry[1]

    def set(self, key: bytes, value: bytes, ttl: float | None) -> None:
        """See Store."""
        with self._lock:
            self._put(key, value, ttl)

    def add(self, key: bytes, value: bytes, ttl: float | None) -> bool:
        """See Store."""
        with self._lock:
            if self.get(key) is not None:
                return False
            self._put(key, value, ttl)
            return True

    def swap(self, key: bytes, old: bytes, new: bytes, ttl: float | None) -> bool:
        """See Store."""
        with self._lock:
            if self.get(key) != old:
                return False
            self._put(key, new, ttl)
            return True

    def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """See Store."""
        with self._lock:
            old = self.get(key)
            value = added(b"0" if old is None else old, by)
            if old is not None:
                ttl = self._entries[key][0] - self._clock()
            self._put(key, value, ttl)
            return int(value)

    def delete(self, key: bytes) -> bool:
        """See Store."""
        with self._lock:
            was = self.get(key) is not None
            self._drop(key)
            return was

    def clear(self) -> None:
        """See Store."""
        with self._lock:
            self._entries.clear()
            self._used = 0

    def claim(self, key: bytes) -> "MemoryClaim":
        """See Store."""
        return MemoryClaim(self._lock, self._claimed, key)

    def close(self) -> None:
        """See Store."""

    def _put(self, key: bytes, value: bytes, ttl: float | None) -> None:
        self._drop(key)
        if ttl is not None and ttl <= 0:
            return
        self._entries[key] = (float("inf") if ttl is None else self._clock() + ttl, value)
        self._used += ENTRY + len(key) + len(value)
        while self._used > self.size and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        if entry := self._entries.pop(key, None):
            self._used -= ENTRY + len(key) + len(entry[1])


class MemoryClaim:
    """A claim among the tasks and threads of this process."""

    def __init__(self, lock: threading.Lock, claimed: set[bytes], key: bytes) -> None:
        self._lock, self._claimed, self._key, self._mine = lock, claimed, key, False

    def acquire(self) -> bool:
        """See Claim."""
        with self._lock:
            self._mine = self._key not in self._claimed
            self._claimed.add(self._key)
        return self._mine

    def release(self) -> None:
        """See Claim."""
        if self._mine:
            self._mine = False
            self._claimed.discard(self._key)
