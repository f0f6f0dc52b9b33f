"""Values and the wire format: what goes in comes out, and nothing that comes in can do harm."""

import json
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svc.cluster.bus import memfd, values, wire

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)
WITH_BYTES = st.recursive(
    JSON | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text("ab$"), inner), max_leaves=20
)


@settings(deadline=None)
@given(JSON)
def test_json_comes_out_as_it_went_in(value: object) -> None:
    kind, data = values.encode(value)
    assert values.decode(kind, memoryview(data)) == value


@settings(deadline=None)
@given(WITH_BYTES)
def test_bytes_anywhere_come_out_as_bytes(value: object) -> None:
    try:
        kind, data = values.encode(value)
    except ValueError:
        assert "$bytes" in repr(value)  # the one key that is taken
        return
    assert values.decode(kind, data) == value


def test_tuples_are_lists_and_bytearrays_bytes() -> None:
    assert values.decode(*values.encode(("a", bytearray(b"b")))) == ["a", b"b"]
    assert values.decode(*values.encode(bytearray(b"b"))) == b"b"


@pytest.mark.parametrize("value", [object(), {1, 2}, [lambda: None], {"a": b"x", "b": object()}])
def test_what_json_does_not_have_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="only what JSON has"):
        values.encode(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [b"x", {"$bytes": "x"}]])
def test_what_would_come_out_as_something_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON compliant|cannot have the key"):
        values.encode(value)


@settings(deadline=None)
@given(st.integers(0, 255), st.binary())
def test_decoding_anything_is_a_value_or_a_value_error(kind: int, data: bytes) -> None:
    try:
        values.decode(kind, data)
    except ValueError:
        pass
    except RecursionError:
        pytest.fail("a value may not exhaust the stack")


def frames_of(datagram: bytes) -> list[wire.Frame]:
    """All messages of a datagram."""
    frames, at = [], wire.HEADER_SIZE
    while at < len(datagram):
        frame, at = wire.frame_at(memoryview(datagram), at)
        frames.append(frame)
    return frames


FRAMES = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**64 - 1), st.binary()), min_size=1
)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), FRAMES)
def test_messages_come_out_as_they_went_in(
    slot: int, incarnation: int, frames: list[tuple[int, int, int, bytes]]
) -> None:
    datagram = wire.header(slot, incarnation) + b"".join(wire.frame(*frame) for frame in frames)
    assert wire.sender(memoryview(datagram)) == (slot, incarnation)
    found = frames_of(datagram)
    assert [(kind, what, number, bytes(value)) for kind, what, _, number, value in found] == frames


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda more: wire.MAGIC + more))
def test_any_datagram_is_messages_or_malformed(datagram: bytes) -> None:
    try:
        wire.sender(memoryview(datagram))
        length = sum(wire.FRAME_SIZE + len(value) for *_, value in frames_of(datagram))
    except wire.Malformed:
        return
    assert length == len(datagram) - wire.HEADER_SIZE


def test_the_documented_layout() -> None:
    """By the numbers of the manual, not by the code's own constants."""
    datagram = wire.header(3, 0x1122334455667788) + wire.frame(1, 0, 7, b"hello")
    assert datagram == struct.pack("<4sIQIBBHQ", b"svc\x01", 3, 0x1122334455667788, 5, 1, 0, 0, 7) + b"hello"


def test_a_sealed_file_is_read_and_cannot_be_changed() -> None:
    fd = memfd.seal(b"large" * 1000)
    try:
        assert memfd.read(fd, 5000) == b"large" * 1000
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
        with pytest.raises(ValueError, match="length"):
            memfd.read(fd, 4999)
    finally:
        os.close(fd)


def test_a_file_without_seals_is_refused() -> None:
    for flags in (os.MFD_CLOEXEC, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING):
        fd = os.memfd_create("test", flags)
        os.write(fd, b"12345")
        with pytest.raises(ValueError, match="not sealed"):
            memfd.read(fd, 5)
        os.close(fd)
    reading, writing = os.pipe()
    with pytest.raises(ValueError, match="no memory file"):
        memfd.read(reading, 0)
    os.close(reading)
    os.close(writing)


def test_white_space_around_json_is_allowed() -> None:
    for text in (b' {"a": 1}\n', b"\t[1] ", b"1\n"):
        assert values.decode(values.JSON, text) == json.loads(text)
    for wrong in (b"", b" ", b"1 2", b"{", b"nul", b"\xff"):
        with pytest.raises(ValueError, match=r".+"):
            values.decode(values.JSON, wrong)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (values.JSON, b"[" * 60_000),
        (values.JSON_WITH_BYTES, b"[" * 60_000),
        (values.JSON_WITH_BYTES, b'{"$bytes":5}'),
        (values.JSON_WITH_BYTES, b'[{"$bytes":null}]'),
    ],
)
def test_what_another_language_encoded_wrongly_is_a_value_error(kind: int, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"nested|\$bytes"):
        values.decode(kind, data)
