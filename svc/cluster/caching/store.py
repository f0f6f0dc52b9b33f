"""What a cache asks of the place that keeps its entries: the host's memory, or one process's.

Stores know keys and values as bytes (`svc.cluster.caching.encoding`) and times to live in seconds (None: for
ever; not above zero: the entry is gone at once). Every method but clear() is atomic among all who share the
store.
"""

from collections.abc import Callable
from typing import Protocol

from svc.cluster.caching.encoding import INTEGERS

Clock = Callable[[], float]


class Claim(Protocol):
    """The right to compute the value of one key, which one caller at a time has."""

    def acquire(self) -> bool:
        """Take it if it is free; does not wait."""

    def release(self) -> None:
        """Give it back; without having it, nothing."""


class Store(Protocol):
    """The operations of a store. Each may raise CacheError."""

    poll: float
    """Seconds after which it makes sense to look again for what another worker computes."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None when there is none."""

    def set(self, key: bytes, value: bytes, ttl: float | None) -> None:
        """Store, as the newest entry."""

    def add(self, key: bytes, value: bytes, ttl: float | None) -> bool:
        """Store if there is none; whether it was."""

    def swap(self, key: bytes, old: bytes, new: bytes, ttl: float | None) -> bool:
        """Store if the value is `old`; whether it was."""

    def incr(self, key: bytes, by: int, ttl: float | None) -> int:
        """Count up from 0 and return the new value. A new counter gets `ttl`, others keep theirs.

        Raises TypeError when the value is no whole number, OverflowError beyond 64 bits.
        """

    def delete(self, key: bytes) -> bool:
        """Remove; whether there was one."""

    def clear(self) -> None:
        """Remove all; what others set meanwhile may stay."""

    def claim(self, key: bytes) -> Claim:
        """The right to compute the value of `key`; freed when its holder dies."""

    def close(self) -> None:
        """Let go of files and connections."""


def added(value: bytes, by: int) -> bytes:
    """The counter `value` plus `by`. Raises TypeError and OverflowError, as Store.incr says."""
    try:
        total = int(value) + by
    except ValueError:
        raise TypeError("the value is no whole number of 64 bits, so it cannot be counted on") from None
    if total not in INTEGERS:
        raise OverflowError("a counter has 64 bits")
    return b"%d" % total
