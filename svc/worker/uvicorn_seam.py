"""All that depends on uvicorn's version: 0.17.6, 0.32 and the newest are tried.

Uvicorn's protocol classes do HTTP and WebSocket; its Server is not used. What is taken: Config,
ServerState, the HTTP and WebSocket protocol classes with the attributes named here.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any, cast

from svc.worker import middleware, pipelines
from svc.worker.answering import CLOSE, answering, responder
from svc.worker.edge.strict import HEADERS, strict
from svc.worker.greeting import alike, greeting
from svc.worker.inline import inline
from svc.worker.late import lenient
from svc.worker.middleware import Asgi
from svc.worker.parting import parting
from svc.worker.requirements import require_websockets
from svc.worker.wsgi import WsgiApplication

# Longer than the 60 s for which nginx and others keep idle connections to a server: the side that
# closes first loses requests, and that must not be us.
KEEP_ALIVE_SECONDS = 75


@dataclass(frozen=True, slots=True)
class Doing:
    """What a connection is at: `busy` with a request (or part of one), or a `websocket`."""

    busy: bool
    websocket: bool
    client: str
    method: str
    path: str


class Http:
    """Uvicorn's protocols around one application: makes them, and looks into them."""

    def __init__(
        self,
        app: Asgi,
        headers: int = HEADERS,
        *,
        websockets: bool = True,
        wsgi: WsgiApplication | None = None,
    ) -> None:
        """`app` answers; `wsgi` is the application in it where that may be called at once."""
        from uvicorn.config import Config
        from uvicorn.server import ServerState

        if websockets:
            require_websockets()
        # Config calls what it is given once, without arguments, to see whether it is a factory; so it
        # gets a stand-in, and the application takes that one's place.
        config: Any = Config(
            middleware.stand_in,
            interface="asgi3",
            # Its "auto" is httptools, else h11. Not zttp, which is as fast, but does not show whether a part
            # of a request has been received, and a drain must not close such a connection.
            http="auto",
            ws="auto" if websockets else "none",
            lifespan="auto",
            log_config=None,
            access_log=True,  # which leaves its logger as the application has it, see svc.worker.log
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()
        proxied = middleware.put_inside(config, app)
        respond = responder(config.http_protocol_class)
        inner = config.loaded_app
        config.loaded_app = lenient(inner) if respond is None else answering(inner, respond)
        self.config = config
        self.app = app
        self.state = cast("Any", ServerState())
        self.state.lingering = set()  # transports of clients that were refused, see svc.worker.edge.refusal
        self.app_state: dict[str, Any] = {}
        self.parser = config.http_protocol_class.__module__.rpartition(".")[2].partition("_")[0]
        telling = pipelines.telling(config.http_protocol_class, self.state.tasks)
        self._protocol = greeting(strict(parting(telling), headers))
        if wsgi is not None and respond is not None and proxied is not None:
            self._protocol = inline(self._protocol, wsgi, proxied, respond)
        self._takes_state = "app_state" in inspect.signature(self._protocol.__init__).parameters
        self._make: Callable[[], Any] | None = None
        self._closing = False
        # Headers without our Connection: close, which must not stand next to Connection: Upgrade.
        self._socket_state: Any = ServerState()
        self._socket_state.connections = self.state.connections
        self._socket_state.tasks = self.state.tasks
        self._websocket = config.ws_protocol_class
        if self._websocket is not None:
            config.ws_protocol_class = self._make_websocket
        self.on_websocket: Callable[[Any], None] = lambda _: None
        self.refresh_headers()

    @property
    def lifespan_state(self) -> dict[str, Any] | None:
        """What a start-up leaves for the requests; None when this uvicorn does not pass it on."""
        return self.app_state if self._takes_state else None

    # Connections

    def make_protocol(self) -> asyncio.Protocol:
        """A protocol for one accepted connection. To be called in the running loop."""
        if self._make is None:
            more = {"app_state": self.app_state} if self._takes_state else {}
            self._make = alike(partial(self._protocol, config=self.config, server_state=self.state, **more))
        made: asyncio.Protocol = self._make()
        return made

    def _make_websocket(self, *, config: Any, server_state: Any, **more: Any) -> Any:
        del server_state
        protocol = self._websocket(config=config, server_state=self._socket_state, **more)
        self.on_websocket(protocol)
        return protocol

    @property
    def connections(self) -> set[Any]:
        """The open connections, as protocols of uvicorn."""
        found: set[Any] = self.state.connections
        return found

    @property
    def tasks(self) -> set["asyncio.Task[None]"]:
        """The calls of the application that run: requests, WebSockets, work after an answer."""
        found: set[asyncio.Task[None]] = self.state.tasks
        return found

    @property
    def answered(self) -> int:
        """Requests answered so far."""
        return int(self.state.total_requests)

    async def end_lingering(self) -> None:
        """Close the connections of refused clients, for whom no drain waits."""
        for transport in list(self.state.lingering):
            transport.close()
        await asyncio.sleep(0)  # in the loop's next turn they are closed

    # Headers of every answer

    def refresh_headers(self) -> None:
        """Bring the Date header up to date: to be called once a second.

        In place: uvicorn 0.17 keeps the list per connection, every version per request, and a request
        whose head is not sent yet shall have today's headers too.
        """
        date = (b"date", formatdate(usegmt=True).encode())
        self.state.default_headers[:] = [date, CLOSE] if self._closing else [date]
        self._socket_state.default_headers[:] = [date]

    def announce_close(self) -> None:
        """From now on each answer says `Connection: close`, which also makes uvicorn close after it."""
        self._closing = True
        self.refresh_headers()

    # A look into a connection

    def is_websocket(self, protocol: Any) -> bool:
        """Whether the connection was upgraded."""
        return not isinstance(protocol, self.config.http_protocol_class)

    def look(self, protocol: Any) -> Doing:
        """What the connection is at."""
        client = _client(protocol)
        scope = getattr(protocol, "scope", None) or {}
        method, path = str(scope.get("method", "")), str(scope.get("path", ""))
        if self.is_websocket(protocol):
            return Doing(True, True, client, "WebSocket", path)
        cycle = protocol.cycle
        if cycle is not None and cycle.response_complete and cycle.scope is scope:
            method = path = ""  # of the request before
        return Doing(self.is_busy(protocol), False, client, method, path)

    def is_busy(self, protocol: Any) -> bool:
        """Whether a request is in progress on this HTTP connection, or part of one has been received."""
        cycle = protocol.cycle
        if cycle is not None and not cycle.response_complete:
            return True
        return _has_partial_request(protocol)

    def is_between_requests(self, protocol: Any) -> bool:
        """Whether what the client has sent so far ends where a request ends; not all need be answered."""
        return not _has_partial_request(protocol) and not protocol.cycle.more_body

    def listen_in(self, protocol: Any, heard: Callable[[], None], answered: Callable[[], None]) -> None:
        """Call `heard` at each byte from the client from now on, and `answered` after each answer.

        Only a drain wants to know, so a connection pays for it only then: methods are replaced on this
        one object, and set_protocol makes uvloop, which caches one, look again.
        """
        receive, complete = protocol.data_received, protocol.on_response_complete

        def data_received(data: bytes) -> None:
            heard()
            receive(data)
            self._spare_pipelined(protocol)

        def on_response_complete() -> None:
            complete()
            if not protocol.transport.is_closing():
                answered()

        protocol.data_received = data_received
        protocol.on_response_complete = on_response_complete
        for cycle in self._unanswered(protocol):
            cycle.on_response = on_response_complete
        if hasattr(protocol, "handle_events"):  # h11 takes up the next request of a pipeline by itself
            handle = protocol.handle_events

            def handle_events() -> None:
                handle()
                self._spare_pipelined(protocol)

            protocol.handle_events = handle_events
        if protocol.transport is not None:
            protocol.transport.set_protocol(protocol)
        self._spare_pipelined(protocol)

    def _unanswered(self, protocol: Any) -> list[Any]:
        """The requests that were received, in their order: the one that is being answered, and a pipeline."""
        waiting = getattr(protocol, "pipeline", ())
        running = pipelines.running(protocol, self.tasks) if waiting else protocol.cycle
        cycles = [cycle for cycle, _ in reversed(waiting)]
        return cycles if running is None or running.response_complete else [running, *cycles]

    def _spare_pipelined(self, protocol: Any) -> None:
        """Of requests sent in one go, let only the last answer close the connection.

        The others were received before the client could know that we close, so they shall be answered.
        """
        cycles = self._unanswered(protocol)
        self._spare(cycles if _has_partial_request(protocol) else cycles[:-1])

    def spare(self, protocol: Any) -> None:
        """Let none of the answers to what was received so far close the connection."""
        self._spare(self._unanswered(protocol))

    def _spare(self, cycles: list[Any]) -> None:
        for cycle in cycles:
            cycle.default_headers = self._socket_state.default_headers

    def close_websocket(self, protocol: Any) -> "asyncio.Task[None] | None":
        """Begin to close with 1012, service restart (IANA's WebSocket close code registry).

        By the closing handshake where uvicorn has one: to close the transport right after the frame
        would reset the connection when the client is just sending, and the frame would be lost. None
        when the handshake that opens the connection is not done yet; try again later.
        """
        opened = getattr(protocol, "handshake_completed_event", None)
        if not (opened.is_set() if opened is not None else protocol.handshake_complete):
            return None
        return asyncio.get_running_loop().create_task(_close_websocket(protocol))


async def _close_websocket(protocol: Any) -> None:
    with contextlib.suppress(Exception):  # it may be closing for another reason
        if hasattr(protocol, "fail_connection"):  # the legacy implementation of `websockets`
            await protocol.close(1012)
        elif hasattr(protocol, "close_timer"):
            await protocol.send({"type": "websocket.close", "code": 1012})
            protocol.disconnected = True  # what the application still sends is dropped, without a traceback
        else:
            protocol.shutdown()


def _has_partial_request(protocol: Any) -> bool:
    parser = getattr(protocol, "conn", None)
    if parser is None:  # httptools: a new scope is made at a request's first byte
        scope, cycle = protocol.scope, protocol.cycle
        return scope is not None and (cycle is None or cycle.scope is not scope)
    return bool(parser.trailing_data[0])  # h11


def _client(protocol: Any) -> str:
    address = getattr(protocol, "client", None)
    return f"{address[0]}:{address[1]}" if address else "a local client"
