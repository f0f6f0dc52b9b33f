"""The begin of a connection in uvicorn's protocols, at half the price.

Each protocol looks its loggers and its configuration up again, although they are the same for all.

And it asks its transport for the socket, and that for both addresses; uvloop makes a socket object for
each question, and asks the kernel. But the transport knows the addresses of a TCP connection.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

Made = Callable[[Any, Any], None]
Make = Callable[[], Any]

NO_SCOPE = (0,)
LENIENCY = ("lenient_data_after_close",)  # what newer versions ask of the parser, and nothing else


def alike(make: Make) -> Make:
    """`make`, which makes protocols; or a shorter way to the same, for uvicorn's on httptools.

    To be called where `make` is: in the running loop.
    """
    first, second = make(), make()
    kind: Any = type(first)
    state = vars(first)
    own = {name for name, value in state.items() if value is not vars(second)[name]}
    code = kind.__init__.__code__
    asks = "set_dangerous_leniencies" in code.co_names
    if own != {"parser", "pipeline"} or asks != (LENIENCY in code.co_consts) or "access_log" not in state:
        return make
    parser_of = type(first.parser)
    asks = asks and hasattr(parser_of, "set_dangerous_leniencies")
    shared = [(name, value) for name, value in state.items() if name not in own]
    has_handlers = first.access_logger.hasHandlers

    def shorter() -> Any:
        protocol = kind.__new__(kind)
        for name, value in shared:  # an update of __dict__ is faster, but an object with one is larger
            setattr(protocol, name, value)
        protocol.access_log = has_handlers()  # an application may configure that at any time
        protocol.pipeline = deque()
        protocol.parser = parser = parser_of(protocol)
        if asks:
            parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return protocol

    return shorter


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
        # An IPv4 connection's, or an IPv6 one's; of one with a scope only the socket knows the name.
        if (
            type(here) is not tuple
            or type(there) is not tuple
            or not (len(here) == len(there) == 2 or (here[3:] == there[3:] == NO_SCOPE))
            or protocol.logger.level < logging.DEBUG
        ):
            theirs(protocol, transport)
            return
        protocol.connections.add(protocol)
        protocol.transport = transport
        protocol.flow = flow_control(transport)  # type: ignore[misc]
        protocol.server = here[:2]
        protocol.client = there[:2]
        protocol.scheme = "http"  # a worker accepts no TLS

    return connection_made


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
