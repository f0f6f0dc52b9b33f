"""How entries lie in the tree of an LMDB environment: what is done to them in a transaction.

The one tree holds two kinds of keys:

    key              expiry (a double; 0: never), number, value
    0xff number      key

The numbers rise with each set, so what begins with 0xff stands in the order in which the entries were last
set; no key begins with 0xff, for it is UTF-8. Numbers are big-endian, of 8 bytes.
"""

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lmdb

    # Debian 12's lmdb has no types, and no generic Transaction: only the checker sees these.
    Writing = lmdb.Transaction[bytes]

END = struct.Struct(">d")
ORDER = b"\xff"
NOTHING = b"\xfe"
"""No key either: what is set for a moment to have a transaction at all."""

NEVER = 0.0
GONE = -1.0
"""Expiries of an entry that stays, and of one that is not to be stored at all."""

_NUMBER = slice(8, 16)
_VALUE = slice(16, None)


def expiry(ttl: float | None, now: float) -> float:
    """When an entry ends that lives for `ttl` seconds from `now` on."""
    if ttl is None:
        return NEVER
    return now + ttl if ttl > 0 else GONE


def live(txn: "Writing", key: bytes, now: float) -> bytes | None:
    """The record of a key whose time has not run out."""
    record = txn.get(key)
    if record is None or now >= end_of(record) != NEVER:
        return None
    return record


def end_of(record: bytes) -> float:
    """The expiry of a record."""
    end: float = END.unpack_from(record)[0]
    return end


def value_of(record: bytes) -> bytes:
    """The value in a record."""
    return record[_VALUE]


def put(txn: "Writing", key: bytes, value: bytes, end: float) -> None:
    """Store an entry as the one that was set last."""
    if end < NEVER:
        drop(txn, key)
        return
    with txn.cursor() as cursor:
        newest = cursor.key() if cursor.last() and cursor.key().startswith(ORDER) else b""
    record = txn.get(key)
    place = b"" if record is None else ORDER + record[_NUMBER]
    if not place or place != newest:
        if place:
            txn.delete(place)
        place = ORDER + (int.from_bytes(newest[1:], "big") + 1 if newest else 0).to_bytes(8, "big")
        txn.put(place, key, append=True)
    txn.put(key, END.pack(end) + place[1:] + value)


def drop(txn: "Writing", key: bytes) -> None:
    """Remove an entry, if there is one."""
    record = txn.get(key)
    if record is not None:
        txn.delete(ORDER + record[_NUMBER])
        txn.delete(key)


def oldest(txn: "Writing") -> bytes | None:
    """The key that was set longest ago."""
    with txn.cursor() as cursor:
        return cursor.value() if cursor.set_range(ORDER) else None
