"""A moment that no process can be brought to at will: the last sibling goes while an answer is finished."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from svc.worker.connections import Adopter
from svc.worker.drain import Drain
from svc.worker.log import Journal
from svc.worker.uvicorn_seam import Http

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD_END = b"\r\n\r\n"


class OneSibling:
    """Stands in for the siblings: one that is there, takes nothing, and goes."""

    def __init__(self) -> None:
        self.there = True
        self.given = self.waiting = 0

    def __bool__(self) -> bool:
        return self.there

    def ready(self) -> bool:
        """Whether it says that it takes connections."""
        return self.there

    def seek(self) -> None:
        """There is nobody else."""

    def give(self, _: socket.socket) -> bool:
        """It has no room."""
        return False

    def close(self, *, take_back: bool = True) -> None:
        """Nothing is on its way."""


async def pipeline_while_the_sibling_goes() -> list[bool]:
    """Of three answers, which say that the connection closes; every one must arrive."""
    loop = asyncio.get_running_loop()
    gates = [asyncio.Event() for _ in range(3)]
    coming = iter(gates)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await next(coming).wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    journal = Journal()
    http = Http(app)
    adopter = Adopter(http, loop, journal)
    adopter.adopt(ours)
    await adopter.settled()
    reader, writer = await asyncio.open_connection(sock=theirs)
    sibling, drain = OneSibling(), Drain(http, journal, 30.0, adopter)
    drain._siblings = sibling  # type: ignore[assignment]
    closes = []

    async def answer() -> None:
        head = await asyncio.wait_for(reader.readuntil(HEAD_END), 30)
        closes.append(b"connection: close" in head)

    writer.write(REQUEST * 2)
    while not http.tasks:
        await asyncio.sleep(0)
    drain._look(loop.time())  # the connection is busy: it is followed
    gates[0].set()
    await answer()
    writer.write(REQUEST)  # it is in the kernel: the socket was writable
    sibling.there = False
    drain._look(loop.time())
    gates[1].set()
    await answer()
    gates[2].set()
    await answer()
    assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()
    return closes


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_an_answer_does_not_close_over_a_request_that_is_not_read(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    work: Coroutine[Any, Any, list[bool]] = pipeline_while_the_sibling_goes()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(work) == [False, False, True]
