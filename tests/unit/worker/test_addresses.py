"""An application learns who asks and where, directly and behind a proxy, with every uvicorn and parser."""

import asyncio
import json
import socket
from collections import deque
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from svc.worker.greeting import alike, greeting
from svc.worker.uvicorn_seam import Http
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import Client, Worker, listen, run_worker

APP = """
import json

async def app(scope, receive, send):
    assert scope["type"] == "http"
    told = json.dumps([scope["client"], scope["server"], scope["scheme"]]).encode()
    headers = [(b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})
"""


def telling(
    variant: Variant, folder: Path, listener: socket.socket, **environment: str
) -> AbstractContextManager[Worker]:
    """A worker whose application tells what it knows of its client."""
    (folder / "told.py").write_text(APP)
    return run_worker(
        "--loop",
        variant.loop,
        app="told:app",
        directory=folder,
        listeners=[listener],
        python=variant.python,
        path=[hide(folder, variant.missing)],
        environment=environment,
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_addresses_of_a_tcp_connection(host: str, variant: Variant, tmp_path: Path) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        listen(family, ("::" if ":" in host else "127.0.0.1", 0)) as listener,
        telling(variant, tmp_path, listener, FORWARDED_ALLOW_IPS=host),
        Client(listener, host) as client,
    ):
        here, there = list(client.sock.getsockname()[:2]), list(client.sock.getpeername()[:2])
        assert json.loads(client.get()[2]) == [here, there, "http"]
        # Of a proxy that is trusted; each connection's own address is the next request's again.
        client.ask(headers=["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"])
        assert json.loads(client.answer()[2]) == [["192.0.2.7", 0], there, "https"]
        assert json.loads(client.get()[2]) == [here, there, "http"]


def test_a_local_connection_has_no_address(variant: Variant, tmp_path: Path) -> None:
    with (
        listen(socket.AF_UNIX, str(tmp_path / "sock")) as listener,
        telling(variant, tmp_path, listener) as worker,
        worker.client() as client,
    ):
        told = json.loads(client.get()[2])
        assert told[0] is None
        assert told[1] in (None, [str(tmp_path / "sock"), None])  # as this uvicorn has it


class Changed:
    """A protocol of a uvicorn to come, which does more at the begin of a connection."""

    def connection_made(self, transport: object) -> None:
        """More than ours."""
        self.transport = transport
        self.more = True


def test_what_a_uvicorn_to_come_does_at_the_begin_of_a_connection_is_left_to_it() -> None:
    assert greeting(Changed) is Changed


async def nothing(scope: object, receive: object, send: object) -> None:
    """An application that is not called."""


def test_protocols_are_made_in_a_short_way_and_are_the_same() -> None:
    async def protocols() -> tuple[Any, Any, Any]:
        http = Http(nothing, websockets=False)
        make = partial(http._protocol, config=http.config, server_state=http.state, app_state=http.app_state)
        shorter = alike(make)
        assert shorter is not make
        return make(), shorter(), shorter()

    theirs, one, other = asyncio.run(protocols())
    assert type(one) is type(theirs)
    assert vars(one).keys() == vars(theirs).keys()
    for name, value in vars(theirs).items():
        if name in ("parser", "pipeline"):
            assert type(getattr(one, name)) is type(value)
            assert getattr(one, name) is not getattr(other, name)
        else:
            assert getattr(one, name) is value


class Richer:
    """A protocol of a uvicorn to come: each has one more thing of its own."""

    def __init__(self) -> None:
        self.parser, self.pipeline, self.access_log, self.more = object(), deque[Any](), False, object()


def test_what_a_uvicorn_to_come_gives_each_protocol_is_left_to_it() -> None:
    assert alike(Richer) is Richer
