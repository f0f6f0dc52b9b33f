"""Every store does what a dict with a clock would do, whatever is asked of it in whatever order."""

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from svc.cluster.caching import BlockingCache
from svc.cluster.caching.embedded import Embedded
from svc.cluster.caching.encoding import LONGEST_KEY, decode, encode, key_bytes
from svc.cluster.caching.memory import Memory
from svc.cluster.caching.store import Store

KEYS = st.sampled_from(["a", "b", "ü" * 200, "x" * 600, "x" * 601, "\0", "user:4711"])
NUMBERS = st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS.filter(lambda key: key != "$bytes"), inner, max_size=3)
    ),
    max_leaves=5,
) | st.binary(max_size=5000)
TTLS = st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0, 3600.0])


class Model(RuleBasedStateMachine):
    """A cache beside a dict of (value, expiry)."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.entries: dict[str, tuple[Any, float]] = {}
        self.store = self.make()
        self.cache = BlockingCache(lambda: self.store)

    def make(self) -> Store:
        return Memory(64 << 20, lambda: self.now)

    def teardown(self) -> None:
        self.store.close()

    def known(self, key: str) -> bool:
        return key in self.entries and self.entries[key][1] > self.now

    def note(self, key: str, value: Any, ttl: float | None) -> None:
        self.entries[key] = (value, math.inf if ttl is None else self.now + ttl)

    @rule(key=KEYS, value=VALUES, ttl=TTLS)
    def set(self, key: str, value: Any, ttl: float | None) -> None:
        self.cache.set(key, value, ttl=ttl)
        self.note(key, value, ttl)

    @rule(key=KEYS, value=VALUES, ttl=TTLS)
    def add(self, key: str, value: Any, ttl: float | None) -> None:
        known = self.known(key)
        assert self.cache.add(key, value, ttl=ttl) is not known
        if not known:
            self.note(key, value, ttl)

    @rule(key=KEYS, expected=VALUES, value=VALUES, ttl=TTLS, right=st.booleans())
    def cas(self, key: str, expected: Any, value: Any, ttl: float | None, right: bool) -> None:
        if right and self.known(key):
            expected = self.entries[key][0]
        swaps = self.known(key) and self.entries[key][0] == expected
        assert self.cache.cas(key, expected, value, ttl=ttl) is swaps
        if swaps:
            self.note(key, value, ttl)

    @rule(key=KEYS, by=st.integers(-5, 5), ttl=TTLS)
    def incr(self, key: str, by: int, ttl: float | None) -> None:
        if not self.known(key):
            assert self.cache.incr(key, by, ttl=ttl) == by
            self.note(key, by, ttl)
            return
        value, expiry = self.entries[key]
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
            with pytest.raises(TypeError):
                self.cache.incr(key, by, ttl=ttl)
        elif -(1 << 63) <= value + by < 1 << 63:
            assert self.cache.incr(key, by, ttl=ttl) == value + by
            self.entries[key] = (value + by, expiry)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.cache.delete(key) is self.known(key)
        self.entries.pop(key, None)

    @precondition(lambda self: self.entries)
    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.entries.clear()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_same_is_there(self) -> None:
        for key in self.entries:
            value = self.cache.get(key, "nothing")
            assert value == (self.entries[key][0] if self.known(key) else "nothing"), key


class EmbeddedModel(Model):
    """The same with files."""

    def make(self) -> Store:
        self.folder = Path(tempfile.mkdtemp(prefix="svc-cache-"))
        return self.open()

    def open(self) -> Store:
        return Embedded(self.folder, 64 << 20, lambda: self.now)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open()
        self.cache = BlockingCache(lambda: self.store)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


FEW = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestMemory = Model.TestCase
TestMemory.settings = FEW
TestEmbedded = EmbeddedModel.TestCase
TestEmbedded.settings = FEW


@given(VALUES)
def test_values_come_back_as_they_were(value: Any) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [{1, 2}, object(), {"a": {b"x"}}])
def test_what_is_neither_json_nor_bytes_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"what JSON has .* and bytes"):
        encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {"$bytes": b"", "a": 1}])
def test_what_could_not_be_read_back_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own words
        encode(value)


@given(TEXTS.filter(bool), st.integers(1, 300))
def test_a_key_fits_and_its_own_hash_is_part_of_it(text: str, times: int) -> None:
    key = text * times
    raw = key_bytes(key)
    assert 0 < len(raw) <= LONGEST_KEY
    assert raw[:1] != b"\xff"
    assert (raw == key.encode()) is (len(key.encode()) <= LONGEST_KEY)
    assert raw != key_bytes(key + "x")


@pytest.mark.parametrize(("key", "error"), [("", ValueError), (b"bytes", TypeError), (5, TypeError)])
def test_a_key_is_a_text(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="key"):
        key_bytes(key)
