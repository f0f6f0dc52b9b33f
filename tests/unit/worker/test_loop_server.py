"""The loop's own server: when it is trusted with the line's listener, and what it must not do with it."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from svc.worker import loop_server, loops
from svc.worker.listeners import Listener
from svc.worker.log import Journal
from tests.unit.worker.process import PATIENCE, listen


@pytest.fixture
def chosen(loop: str) -> Iterator[loops.Loop]:
    """Each loop in turn."""
    made = loops.choose(Journal(), loop)
    yield made
    loops.close(made)


class Echo(asyncio.Protocol):
    """Sends back what comes first, and closes."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(data)
        self.transport.close()


def proven(chosen: loops.Loop) -> loop_server.LoopServer | None:
    """The loop's own server, if it is trusted."""
    return chosen.loop.run_until_complete(loop_server.proven(chosen, Echo, Journal()))


def test_uvloop_is_trusted_and_asyncio_is_not(chosen: loops.Loop) -> None:
    assert (proven(chosen) is not None) is (chosen.name == "uvloop")


def test_a_loop_that_takes_all_that_wait_is_not_trusted() -> None:
    chosen = loops.choose(Journal(), "asyncio")
    assert proven(loops.Loop("uvloop", chosen.loop, chosen.epoll)) is None
    loops.close(chosen)


def test_with_few_descriptors_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_server, "descriptors", lambda: 255)
    chosen = loops.choose(Journal(), "uvloop")
    assert proven(chosen) is None
    loops.close(chosen)


async def echoed(listener: socket.socket, text: bytes) -> bytes:
    """What a client has back."""
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def test_a_failure_costs_one_connection_and_the_backlog_stays(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = loops.choose(Journal(), "uvloop")
    failures = [MemoryError("no room"), RuntimeError("no idea")]

    def make() -> asyncio.Protocol:
        if len(failures) == 1:
            raise failures.pop()
        return Echo()

    def accepted() -> None:
        if len(failures) == 2:
            raise failures.pop(0)

    async def use(listener: socket.socket) -> list[bytes]:
        server = loop_server.LoopServer(chosen.loop, make, Journal())
        await server.open(Listener("http", listener.dup()), accepted)
        assert loop_server.backlog(listener) == 7
        assert not server.is_short()
        answers = [await echoed(listener, text) for text in (b"one", b"two", b"three", b"four")]
        server.close()
        server.close()
        return answers

    with listen() as listener:
        listener.listen(7)
        assert chosen.loop.run_until_complete(use(listener)) == [b"", b"", b"three", b"four"]
        with socket.create_connection(listener.getsockname()):  # others have it, too
            listener.setblocking(True)
            listener.accept()[0].close()
    loops.close(chosen)
    said = capsys.readouterr().err
    assert "MemoryError: no room" in said
    assert "RuntimeError: no idea" in said
