"""A worker that took a connection is in line again once the request in it has had its turn."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from svc.worker import loop_server, loops
from svc.worker.accept import FairLine
from svc.worker.connections import Adopter
from svc.worker.edge.gate import guard
from svc.worker.listeners import Listener
from svc.worker.log import Journal
from svc.worker.uvicorn_seam import Http
from svc.worker.wsgi import as_asgi
from tests.unit.worker.process import PATIENCE, listen

CLIENTS = 3
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


@pytest.fixture
def chosen(loop: str) -> Iterator[loops.Loop]:
    """Each loop in turn."""
    made = loops.choose(Journal(), loop)
    yield made
    loops.close(made)


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.parametrize("by_server", [True, False], ids=["loop's server", "our own accept"])
def test_its_request_goes_before_the_next_connection(
    interface: str, by_server: bool, chosen: loops.Loop
) -> None:
    happened: list[str] = []
    line: FairLine
    done = asyncio.Event()

    def wsgi(_environ: object, start_response: Callable[..., object]) -> list[bytes]:
        happened.append("called")
        start_response("200 OK", [])
        return [b"ok"]

    async def asgi(_scope: object, _receive: object, send: Any) -> None:
        happened.append("called")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def took() -> None:
        happened.append("took")
        # The line itself hears of it a moment later.
        chosen.loop.call_soon(line.when_settled, settled)

    def settled() -> None:
        happened.append("settled")
        if happened.count("settled") == CLIENTS:
            done.set()

    def made() -> asyncio.Protocol:
        took()
        return http.make_protocol()

    def adopt(connection: socket.socket) -> None:
        took()
        adopter.adopt(connection)

    http = Http(
        guard(as_asgi(wsgi) if interface == "wsgi" else asgi),
        websockets=False,
        wsgi=wsgi if interface == "wsgi" else None,
    )
    adopter = Adopter(http, chosen.loop, Journal())

    async def work(listener: socket.socket) -> None:
        server = await loop_server.proven(chosen, made, Journal()) if by_server else None
        own = Listener("http", listener.dup())
        own.sock.setblocking(False)
        nonlocal line
        line = FairLine(chosen, (own,), adopt, Journal(), server=server)
        await line.join()
        clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(REQUEST)
        await done.wait()
        line.leave()
        own.sock.close()
        for client in clients:
            client.setblocking(False)
            while await chosen.loop.sock_recv(client, 4096):
                pass
            client.close()

    with listen() as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
        chosen.loop.run_until_complete(asyncio.wait_for(work(listener), PATIENCE))
    assert happened == ["took", "called", "settled"] * CLIENTS
