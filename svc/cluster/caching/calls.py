"""The calls of the cache, in the form for coroutines and in the plain one."""

import asyncio
import inspect
import operator
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import cached_property
from typing import Any, TypeVar, overload

from svc.cluster.caching.encoding import decode, encode, key_bytes
from svc.cluster.caching.store import Claim, Store

T = TypeVar("T")

LONGEST_POLL = 0.02
"""Seconds; a computation that takes longer than a few of these hides it."""

_MISSING: Any = object()


class _Calls:
    """What both forms have. Nothing is opened before the first call: that asks `opened` for the store."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        self._opened = opened

    @cached_property
    def _store(self) -> Store:
        return self._opened()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, else `default`. A tuple has become a list, the keys of a dict texts."""
        data = self._store.get(key_bytes(key))
        return default if data is None else decode(data)

    def set(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Set `key` to JSON types or bytes, for `ttl` seconds (None: until room is needed).

        A `ttl` of 0 or less removes it. Raises TypeError and ValueError for what cannot be stored.
        """
        self._store.set(key_bytes(key), encode(value), ttl)

    def add(self, key: str, value: Any, *, ttl: float | None = None) -> bool:
        """Set `key` if it has no value; whether that was so. Of all who try at once one succeeds."""
        return self._store.add(key_bytes(key), encode(value), ttl)

    def cas(self, key: str, expected: Any, value: Any, *, ttl: float | None = None) -> bool:
        """Compare and set: store `value` if that of `key` equals `expected`; whether that was so.

        False also when another worker wrote in between. A missing key equals nothing (use `add`).
        """
        raw, new = key_bytes(key), encode(value)
        data = self._store.get(raw)
        if data is None or decode(data) != expected:
            return False
        return self._store.swap(raw, data, new, ttl)

    def incr(self, key: str, by: int = 1, *, ttl: float | None = None) -> int:
        """Add `by` to a whole number and return the sum; a missing key counts from 0 and gets `ttl`.

        Raises TypeError when the value is something else, OverflowError beyond 64 bits.
        """
        return self._store.incr(key_bytes(key), operator.index(by), ttl)

    def delete(self, key: str) -> bool:
        """Remove `key`; whether it had a value."""
        return self._store.delete(key_bytes(key))

    def clear(self) -> None:
        """Remove all keys of this app. What others set meanwhile may stay."""
        self._store.clear()

    def _keep(self, key: bytes, value: T, ttl: float | None) -> T:
        """Store what was computed, and return it as all others will see it."""
        data = encode(value)
        self._store.set(key, data, ttl)
        return decode(data)  # type: ignore[no-any-return]


class BlockingCache(_Calls):
    """The cache for WSGI applications and threads."""

    def get_or_compute(
        self, key: str, function: Callable[[], T], *, ttl: float | None = None, timeout: float | None = None
    ) -> T:
        """The value of `key`, else what `function()` returns, which is then stored for `ttl` seconds.

        Among all workers one calls its function, the others wait for the value. What the function raises goes
        to its caller; those that wait then try themselves, one after the other, as they do when the worker
        that computes dies. Raises TimeoutError when others have computed for `timeout` seconds.
        """
        found = self.get(key, _MISSING)
        if found is not _MISSING:
            return found  # type: ignore[no-any-return]
        raw = key_bytes(key)
        claim = self._store.claim(raw)
        try:
            for pause in _pauses(claim, self._store.poll, timeout, key):
                found = self.get(key, _MISSING)
                if found is not _MISSING:
                    return found  # type: ignore[no-any-return]
                if not pause:
                    break
                time.sleep(pause)
            return self._keep(raw, function(), ttl)
        finally:
            claim.release()


class Cache(_Calls):
    """The cache for coroutines. What it has in memory it returns at once, so only `get_or_compute` waits."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        super().__init__(opened)
        # Within a worker one task asks for a key, the others wait for it to be done.
        self._asking: dict[tuple[int, str], asyncio.Event] = {}

    @overload
    async def get_or_compute(
        self,
        key: str,
        function: Callable[[], Awaitable[T]],
        *,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> T: ...

    @overload
    async def get_or_compute(
        self, key: str, function: Callable[[], T], *, ttl: float | None = None, timeout: float | None = None
    ) -> T: ...

    async def get_or_compute(
        self,
        key: str,
        function: Callable[[], Awaitable[T] | T],
        *,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> T:
        """The value of `key`, else what `function` returns (a coroutine is awaited), kept for `ttl` seconds.

        Among all workers one calls its function, the others wait for the value. What the function raises goes
        to its caller; those that wait then try themselves, one after the other, as they do when the worker
        that computes dies. Raises TimeoutError when others have computed for `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        mine = (id(asyncio.get_running_loop()), key)
        while True:
            found = self.get(key, _MISSING)
            if found is not _MISSING:
                return found  # type: ignore[no-any-return]
            others = self._asking.get(mine)
            if others is None:
                break
            try:
                await asyncio.wait_for(others.wait(), None if end is None else end - time.monotonic())
            except TimeoutError:
                raise _timeout(key, timeout) from None
        done = self._asking[mine] = asyncio.Event()
        try:
            left = None if end is None else end - time.monotonic()
            return await self._compute(key, function, ttl, left)
        finally:
            del self._asking[mine]
            done.set()

    async def _compute(
        self, key: str, function: Callable[[], Awaitable[T] | T], ttl: float | None, timeout: float | None
    ) -> T:
        raw = key_bytes(key)
        claim = self._store.claim(raw)
        try:
            for pause in _pauses(claim, self._store.poll, timeout, key):
                found = self.get(key, _MISSING)
                if found is not _MISSING:
                    return found  # type: ignore[no-any-return]
                if not pause:
                    break
                await asyncio.sleep(pause)
            result = function()
            return self._keep(raw, await result if inspect.isawaitable(result) else result, ttl)
        finally:
            claim.release()


def _pauses(claim: Claim, poll: float, timeout: float | None, key: str) -> Iterator[float]:
    """Seconds to wait until the claim is tried again; 0 when it is ours. Raises TimeoutError."""
    end = None if timeout is None else time.monotonic() + timeout
    pause = poll
    while not claim.acquire():
        left = pause if end is None else end - time.monotonic()
        if left <= 0:
            raise _timeout(key, timeout)
        yield min(pause, left)
        pause = min(2 * pause, max(LONGEST_POLL, poll))
    yield 0.0


def _timeout(key: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(f"another worker has computed {key!r} for more than {timeout:g} s")
