"""The begin of a connection in uvicorn's protocols, at half the price.

A protocol asks its transport for the socket, and that for both addresses; uvloop makes a socket object for
each question, and asks the kernel. But the transport knows the addresses of a TCP connection.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

Made = Callable[[Any, Any], None]


def greeting(protocol_class: Any) -> Any:
    """`protocol_class`, which learns the addresses of a TCP connection from its transport.

    Or `protocol_class` itself, when this uvicorn does more than we know at the begin of a connection.
    """
    theirs = protocol_class.connection_made
    ours = _shorter(theirs)
    if not _leave_the_same(theirs, ours):
        return protocol_class
    return type(protocol_class.__name__, (protocol_class,), {"connection_made": ours})


def _shorter(theirs: Made) -> Made:
    flow_control = getattr(sys.modules[theirs.__module__], "FlowControl", None)

    def connection_made(protocol: Any, transport: Any) -> None:
        here, there = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        if not _is_plain(here) or not _is_plain(there) or protocol.logger.level < logging.DEBUG:
            theirs(protocol, transport)
            return
        protocol.connections.add(protocol)
        protocol.transport = transport
        protocol.flow = flow_control(transport)  # type: ignore[misc]
        protocol.server = here[:2]
        protocol.client = there[:2]
        protocol.scheme = "http"  # a worker accepts no TLS

    return connection_made


def _is_plain(address: Any) -> bool:
    """Whether it is IPv4's or IPv6's, but not one with a scope, of which only the socket knows the name."""
    return isinstance(address, tuple) and (len(address) == 2 or (len(address) == 4 and not address[3]))


def _leave_the_same(theirs: Made, ours: Made) -> bool:
    """Whether a protocol knows the same after either."""
    known = []
    for made in (theirs, ours):
        protocol = _Blank()
        try:
            made(protocol, _Transport())
        except Exception:
            return False
        known.append(vars(protocol) | {"flow": type(protocol.flow), "connections": len(protocol.connections)})
    return known[0] == known[1]


class _Blank:
    """A protocol before its connection."""

    logger = logging.Logger("", logging.WARNING)

    def __init__(self) -> None:
        self.connections: set[Any] = set()
        self.flow: Any = None


class _Transport:
    """Of a TCP connection."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Transport)

    def __hash__(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The addresses."""
        return {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 50000)}.get(name, default)
