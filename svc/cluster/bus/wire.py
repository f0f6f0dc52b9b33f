"""The wire format of messages between the workers of an app, so that any language can take part.

Each worker has a datagram socket (AF_UNIX, SOCK_DGRAM), which systemd holds and passes to it,
sd_listen_fds(3),
by the name "bus". It is bound to `/run/svc/.bus/APP/SLOT` (`$XDG_RUNTIME_DIR/svc/…` for a user's own app);
SLOT is a number from 0 on, or "surge", "surge-2", … for the extra workers of a rollout. To send
is to send a datagram there.

All numbers are little-endian. One datagram is a header and one or more messages, at most 65,536 bytes:

    offset  bytes
    0       4      "svc" and the version of the format, 1
    4       4      the sender's slot: 0xFFFFFFFF for "surge", 0xFFFFFF00 + N for "surge-N", 0xFFFFFFFE for a
                   program that is not a worker
    8       8      the sender's incarnation: a random number that it chose when it started

    and for each message:
    0       4      the length of its value in bytes
    4       1      the kind of its value: 0 JSON, 1 bytes, 2 JSON with bytes (see `svc.cluster.bus.values`)
    5       1      what it is: 0 message, 1 request, 2 answer, 3 failure (the value is a text that says why)
    6       2      1 when the value is in a sealed memory file (below), else 0
    8       8      its number: from 1 on, counts up by one or more with each message of this incarnation
    16      …      the value

A message's id is its sender's incarnation and its number. Two messages of one datagram are no other
than two datagrams; what comes with a descriptor is alone in its datagram.

A *large value* travels in a memfd with the seals F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE
(memfd_create(2)), whose
descriptor comes with the datagram (SCM_RIGHTS, unix(7)); then the value in the datagram is its length, in
8 bytes.

A *request* comes with one end of a pair of SOCK_SEQPACKET sockets, the last descriptor of its datagram: the
answer is one packet of the same format, an answer or a failure, sent there. When that end is closed without
an answer, the one who asked knows that the worker is gone.

Receivers ask the kernel who sent (SO_PASSCRED): a datagram of another user is refused, and one that is not of
this format is, too. A sender whose datagram finds the queue full (EAGAIN) waits until its connected socket
is writable.

Pure.
"""

import struct

from svc.cluster.slots import SURGES, Slot, surge_name, surge_number

MAGIC = b"svc\x01"
LIMIT = 65536
"""The most bytes in a datagram."""

MESSAGE, REQUEST, ANSWER, FAILURE = range(4)

_SURGE = 0xFFFFFFFF
OUTSIDER = 0xFFFFFFFE
_MORE_SURGE = 0xFFFFFF00

IN_MEMFD = 1

_HEADER = struct.Struct("<4sIQ")
_FRAME = struct.Struct("<IBBHQ")
HEADER_SIZE = _HEADER.size
FRAME_SIZE = _FRAME.size
ALONE = struct.Struct(_HEADER.format + _FRAME.format.removeprefix("<"))
"""A header and the message that is alone behind it: what most datagrams are."""
ALONE_SIZE = ALONE.size
INLINE = LIMIT - HEADER_SIZE - FRAME_SIZE
"""The most bytes of a value that a datagram holds."""


class Malformed(ValueError):
    """A datagram that is not of this format."""


Frame = tuple[int, int, int, int, memoryview]
"""One message of a datagram: the kind of its value, what it is, flags, its number, its value.

A plain tuple: a worker takes one apart for each message.
"""


def number_of(slot: Slot) -> int:
    """Return the number that stands for a slot in a message."""
    if number := surge_number(slot):
        return _SURGE if number == 1 else _MORE_SURGE + number
    return int(slot)


def slot_of(number: int) -> Slot | None:
    """Return the slot that such a number stands for; None when the sender is no worker."""
    if number == _SURGE:
        return surge_name(1)
    if number == OUTSIDER:
        return None
    return surge_name(number - _MORE_SURGE) if _MORE_SURGE + 2 <= number <= _MORE_SURGE + SURGES else number


def header(slot: int, incarnation: int) -> bytes:
    """Return the header of every datagram of one sender."""
    return _HEADER.pack(MAGIC, slot, incarnation)


def frame(kind: int, what: int, number: int, value: bytes, flags: int = 0) -> bytes:
    """Return one message, ready to follow a header or another message."""
    return _FRAME.pack(len(value), kind, what, flags, number) + value


def sender(datagram: memoryview) -> tuple[int, int]:
    """Return the sender's slot and incarnation. Raises Malformed."""
    if len(datagram) < HEADER_SIZE + FRAME_SIZE:
        raise Malformed("shorter than any message")
    magic, slot, incarnation = _HEADER.unpack_from(datagram)
    if magic != MAGIC:
        raise Malformed("not a message of svc, or of another version")
    return slot, incarnation


def frame_at(datagram: memoryview, at: int) -> tuple[Frame, int]:
    """Return the message that begins at `at`, and where the next one does. Raises Malformed."""
    start = at + FRAME_SIZE
    if start > len(datagram):
        raise Malformed("a message is cut off")
    length, kind, what, flags, number = _FRAME.unpack_from(datagram, at)
    end = start + length
    if end > len(datagram):
        raise Malformed("a value is cut off")
    return (kind, what, flags, number, datagram[start:end]), end


def large(kind: int, what: int, number: int, length: int) -> bytes:
    """Return a message whose value, of `length` bytes, comes in a memory file."""
    return frame(kind, what, number, length.to_bytes(8, "little"), IN_MEMFD)
