"""From a value to what goes on the wire: in the datagram where it fits, else in a memory file beside it."""

from svc.cluster.bus import memfd, wire


def pack(kind: int, what: int, number: int, value: bytes) -> tuple[bytes, list[int]]:
    """Return the frame of one message, and the descriptor that must go with it, which the caller closes."""
    if len(value) <= wire.INLINE:
        return wire.frame(kind, what, number, value), []
    return wire.large(kind, what, number, len(value)), [memfd.seal(value)]
