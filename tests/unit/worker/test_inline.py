"""A WSGI application that is called straight from the loop: when, and what a drain sees of that."""

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from svc.worker import loops
from svc.worker.edge.gate import guard
from svc.worker.log import Journal
from svc.worker.uvicorn_seam import Http
from svc.worker.wsgi import as_asgi
from tests.unit.worker.process import PATIENCE

EVER = 1 << 30  # answers: to the end of the connection
REQUEST = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Site:
    """The application of one worker, its protocols on socket pairs, and what happened in which order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, inline: bool) -> None:
        self.happened: list[str] = []
        self.loop = loop
        self.http = Http(guard(as_asgi(self.app)), websockets=False, wsgi=self.app if inline else None)
        self.sockets = ExitStack()

    def app(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer in WSGI."""
        self.happened.append(f"called {environ['PATH_INFO']}")
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        if environ["QUERY_STRING"] != "chunks":
            start_response("200 OK", [])
            return [b"ok"]
        start_response("200 OK", [("Content-Length", "2")])
        return iter([b"ok"])

    async def connect(self, after_read: Callable[[Any], None] = lambda _: None) -> socket.socket:
        """A client; `after_read` is called with the protocol each time something was read from it."""
        ours, theirs = socket.socketpair()
        self.sockets.enter_context(ours)
        theirs.setblocking(False)
        protocol: Any = self.http.make_protocol()
        protocol.access_log = False  # as in a worker; pytest's capture of all loggers would be one
        receive = protocol.data_received

        def data_received(data: bytes) -> None:
            receive(data)
            self.happened.append("read")
            after_read(protocol)

        protocol.data_received = data_received
        await self.loop.connect_accepted_socket(lambda: protocol, theirs)
        ours.setblocking(False)
        return ours

    async def told(self, client: socket.socket, answers: int) -> bytes:
        """What the client has received when it has so many answers, or at the end."""
        data = b""
        while data.count(b"ok") < answers:
            more = await self.loop.sock_recv(client, 65536)
            if not more:
                break
            data += more
        return data

    async def closed(self) -> None:
        """Close what is open, and return when the loop has let go of it."""
        for protocol in list(self.http.connections):
            protocol.transport.close()
        while self.http.connections:
            await asyncio.sleep(0)


@pytest.fixture(params=["inline", "in a task"])
def site(loop: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site on each loop, whose application is called in both ways."""
    chosen = loops.choose(Journal(), loop)
    made = Site(chosen.loop, inline=request.param == "inline")
    with made.sockets:
        yield made
        run(made, made.closed())
    loops.close(chosen)


def run(site: Site, work: Any) -> Any:
    return site.loop.run_until_complete(asyncio.wait_for(work, PATIENCE))


def test_all_that_can_be_read_is_read_before_the_first_call(site: Site) -> None:
    async def work() -> None:
        clients = [await site.connect() for _ in range(3)]
        for client in clients:
            client.send(REQUEST % 1)
        for client in clients:
            await site.told(client, 1)

    run(site, work())
    assert site.happened == ["read"] * 3 + ["called /1"] * 3


def test_what_comes_while_a_request_waits_for_its_turn_is_answered_behind_it(site: Site) -> None:
    async def work() -> bytes:
        def more(protocol: Any) -> None:
            if site.happened == ["read"]:
                protocol.data_received(REQUEST % 2 + REQUEST % 3)

        client = await site.connect(more)
        client.send(REQUEST % 1)
        return await site.told(client, 3)

    assert run(site, work()).count(b"200 OK") == 3
    assert site.happened == ["read", "read", "called /1", "called /2", "called /3"]


@pytest.mark.parametrize("answer", [b"whole", b"chunks"])
def test_a_drain_that_begins_before_its_turn_hears_of_the_answer(answer: bytes, site: Site) -> None:
    answered: list[object] = []

    async def work() -> bytes:
        def drain(protocol: Any) -> None:
            assert site.http.is_busy(protocol)
            site.http.listen_in(protocol, lambda: None, lambda: answered.append(asyncio.get_running_loop()))

        client = await site.connect(drain)
        client.send(b"GET /?%b HTTP/1.1\r\nHost: a\r\n\r\n" % answer)
        return await site.told(client, 1)

    assert b"200 OK" in run(site, work())
    assert answered == [site.loop]


def test_a_drain_lets_the_first_of_a_pipeline_not_close_before_its_turn(site: Site) -> None:
    async def work() -> bytes:
        def drain(protocol: Any) -> None:
            site.http.announce_close()
            site.http.listen_in(protocol, lambda: None, lambda: None)

        client = await site.connect(drain)
        client.send(REQUEST % 1 + REQUEST % 2)
        return await site.told(client, EVER)

    first, second = run(site, work()).split(b"ok", 1)
    assert b"connection: close" not in first
    assert b"200 OK" in second
    assert b"connection: close" in second


def test_a_fault_behind_a_request_is_answered_behind_it(site: Site) -> None:
    async def work() -> bytes:
        client = await site.connect()
        client.send(REQUEST % 1 + b"what is this?\r\n\r\n")
        return await site.told(client, EVER)

    told = run(site, work())
    assert told.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in told
    assert site.happened == ["read", "called /1"]


def test_the_application_is_not_called_for_a_client_that_is_gone(site: Site) -> None:
    async def work() -> None:
        def gone(protocol: Any) -> None:
            protocol.connection_lost(ConnectionResetError())
            protocol.transport.abort()

        client = await site.connect(gone)
        client.send(REQUEST % 1)
        assert await site.told(client, EVER) == b""

    run(site, work())
    assert site.happened == ["read"]


@pytest.mark.parametrize("answer", [b"whole", b"chunks"])
def test_a_connection_that_is_gone_leaves_nothing_to_the_garbage_collector(answer: bytes, site: Site) -> None:
    made: list[weakref.ref[Any]] = []

    def make() -> asyncio.Protocol:
        protocol = site.http.make_protocol()
        vars(protocol)["access_log"] = False
        made.append(weakref.ref(protocol))
        return protocol

    async def work() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        ours.setblocking(False)
        await site.loop.connect_accepted_socket(make, theirs)
        with ours:
            ours.send(b"GET /?%b HTTP/1.1\r\nHost: a\r\n\r\n" % answer)
            await site.told(ours, 1)
        while made[0]() is not None:
            await asyncio.sleep(0)

    gc.disable()
    try:
        run(site, work())
    finally:
        gc.enable()
