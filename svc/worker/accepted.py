"""accept(2), where the kind of the new socket is known: it is its listener's.

The standard library makes an enumeration's member of a socket's family and type whenever somebody asks,
and for each connection it asks itself, and so does the event loop. Here they are plain attributes.
"""

import socket
from functools import cache
from typing import Any


def accept(listener: socket.socket) -> tuple[socket.socket, Any]:
    """A connection and its client's address. It blocks until an event loop has it. Raises OSError."""
    fd, client = listener._accept()  # type: ignore[attr-defined] # as socket.accept() does
    family = super(socket.socket, listener).family
    connection: socket.socket = _class_of(family)(family, socket.SOCK_STREAM, listener.proto, fd)
    return connection, client


@cache
def _class_of(family: int) -> Any:
    kind = {"__slots__": (), "family": socket.AddressFamily(family), "type": socket.SOCK_STREAM}
    return type("Accepted", (socket.socket,), kind)
