"""Values of the cache ↔ bytes: JSON types and bytes, never code (no pickle). Pure.

The first byte tells what follows: `s` text in UTF-8, `b` bytes, `j` JSON, `J` JSON in which {"$bytes": …}
stands for bytes (the values of messages, `svc.cluster.bus.values`). What begins like a number is a whole
number of 64 bits in decimal, so that it can be counted on. Any language can read and write this.
"""

from typing import Any

from svc.cluster.bus import values

INTEGERS = range(-(1 << 63), 1 << 63)
"""The numbers that can be counted on."""

LONGEST_KEY = 511
"""Bytes that a key has at most in a store; longer ones end in a hash."""

_TEXT, _BYTES, _JSON, _MIXED = b"sbjJ"


def key_bytes(key: str) -> bytes:
    """The key as stores know it.

    UTF-8 never has the byte 0xff, so no key that is short enough looks like one that was shortened.
    """
    try:
        raw = key.encode()
    except AttributeError:
        raise TypeError(f"a key is a string, not {key!r}") from None
    if not raw:
        raise ValueError("a key has at least one character")
    if len(raw) > LONGEST_KEY:
        from hashlib import blake2b

        digest = blake2b(raw).digest()
        return raw[: LONGEST_KEY - 1 - len(digest)] + b"\xff" + digest
    return raw


def encode(value: object) -> bytes:
    """The bytes of a value. Raises TypeError and ValueError for what has none."""
    if isinstance(value, str):
        return b"s" + value.encode()
    if isinstance(value, int) and not isinstance(value, bool) and int(value) in INTEGERS:
        return b"%d" % value  # int(): a range goes through all its numbers for an IntEnum
    kind, data = values.encode(value)
    return (b"b" if kind == values.BYTES else b"j" if kind == values.JSON else b"J") + data


def decode(data: bytes) -> Any:
    """The value that `encode` made `data` of; a tuple has become a list, the keys of a dict texts."""
    kind = data[0]
    if kind == _TEXT:
        return data[1:].decode()
    if kind == _BYTES:
        return data[1:]
    if kind == _JSON:
        return values.decode(values.JSON, data[1:])
    if kind == _MIXED:
        return values.decode(values.JSON_WITH_BYTES, data[1:])
    return int(data)
