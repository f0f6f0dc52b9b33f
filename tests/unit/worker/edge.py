"""A client that sends any bytes, and asks the application what came through to it."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.worker import rfc9112
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import Client, NoSuchEventError, Worker, run_worker
from tests.unit.worker.rfc9112 import Request

HOST = b"Host: test\r\n"


@dataclass(frozen=True)
class Outcome:
    """What became of some bytes: the requests that the application saw whole, the answers' statuses."""

    seen: tuple[Request, ...]
    statuses: tuple[int, ...]


class Edge:
    """A running worker with tests/apps/edge_app.py, whose journal is read all the time."""

    def __init__(self, worker: Worker, websockets: bool) -> None:
        self.worker = worker
        self._websockets = websockets
        self.control = worker.client()
        self.journal = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.worker.process.stderr is not None
        while data := os.read(self.worker.process.stderr.fileno(), 65536):
            self.journal += data

    def ask(self, path: str) -> Any:
        """What the application says, in JSON."""
        return json.loads(self.control.get(path)[2])

    def read(self, data: bytes) -> rfc9112.Reading:
        """What the RFC lets this worker make of `data`."""
        return rfc9112.read(data, websockets=self._websockets)

    def send(self, *pieces: bytes) -> Outcome:
        """Send `pieces`, wait for as many answers as the RFC allows, and for the end of the connection."""
        expected = self.read(b"".join(pieces)).requests
        statuses: list[int] = []
        with self.worker.client() as client:
            port = client.sock.getsockname()[1]
            self.ask(f"/seen/{port}")  # of a client that had this port before
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    client.send(piece)
            with contextlib.suppress(ConnectionError, NoSuchEventError):
                for request in expected:
                    statuses.append(_status(client, request.method))
                    if statuses[-1] >= 400:
                        break
                if len(statuses) == len(expected) and (not statuses or statuses[-1] < 400):
                    shut_down(client)
                for line in client.rest().split(b"\r\n"):
                    if line.startswith(b"HTTP/1.1 "):
                        statuses.append(int(line[9:12]))
        seen = tuple(Request(*one) for one in self.ask(f"/seen/{port}"))
        return Outcome(seen, tuple(statuses))

    def end(self) -> None:
        """Stop the worker: it must end well, and must have had no error of its own."""
        self.control.sock.close()
        self.worker.process.terminate()
        assert self.worker.process.wait(30) == 0
        self._reader.join()
        assert b"Traceback" not in self.journal, self.journal.decode()[-4000:]


def shut_down(client: Client) -> None:
    """Close the client's half of the connection, which the worker may have closed already."""
    with contextlib.suppress(OSError):
        client.sock.shutdown(socket.SHUT_WR)


def _status(client: Client, method: str) -> int:
    status = 100
    while status < 200:
        status, headers = client.head()
    if method != "HEAD":
        client.body(headers)
    return status


@contextmanager
def edge(variant: Variant, folder: Path, app: str = "app", arguments: Sequence[str] = ()) -> Iterator[Edge]:
    """A worker of this variant."""
    with run_worker(
        "--loop",
        variant.loop,
        *arguments,
        app=f"edge_app:{app}",
        python=variant.python,
        path=[hide(folder, variant.missing)],
    ) as worker:
        running = Edge(worker, websockets=app != "wsgi")
        try:
            yield running
        except BaseException:
            worker.process.kill()
            running.control.sock.close()
            raise
        running.end()
