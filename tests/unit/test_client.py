"""The recording client, against servers that do one thing each, byte by byte."""

import asyncio
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.client import Load, get, load
from tests.http1 import Connection, Failure, parse_head
from tests.measure import Record, Result, figures, percentile

Handler = Callable[["Requests", asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A server in a thread; `requests` are the heads that it read, `peers` who connected."""

    def __init__(self, handler: Handler, unix: str = "") -> None:
        self.requests: list[bytes] = []
        self.peers: list[str] = []
        self._handler = handler
        self._unix = unix
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self.url = "http://server/"

    def __enter__(self) -> "Server":
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._unix:
            server: asyncio.Server = await asyncio.start_unix_server(self._serve, self._unix)
        else:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        self._started.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # closed connections are let go of in the next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(str(writer.get_extra_info("peername")[0]) if not self._unix else "")
        try:
            await self._handler(Requests(reader, self.requests), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()


class Requests:
    """The requests of one connection; keeps the heads."""

    def __init__(self, reader: asyncio.StreamReader, heads: list[bytes]) -> None:
        self._reader, self._heads = reader, heads

    async def next(self) -> None:
        """Read the head of the next request."""
        self._heads.append(await self._reader.readuntil(b"\r\n\r\n"))


def answering(*parts: bytes, forever: bool = True) -> Handler:
    """Answer each request with `parts`, sent one by one; only the first request without `forever`."""

    async def handler(requests: Requests, writer: asyncio.StreamWriter) -> None:
        while True:
            await requests.next()
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if not forever:
                return

    return handler


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([OK], b"ok"),
        ([OK[:7], OK[7:30], OK[30:]], b"ok"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], b"ok"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
        (
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"2;x=y\r\no",
                b"k\r\n0\r\nA: b\r\n\r\n",
            ],
            b"ok",
        ),
    ],
    ids=["at once", "in pieces", "after an interim answer", "without a body", "in chunks"],
)
def test_an_answer_is_read_to_its_end(parts: list[bytes], body: bytes) -> None:
    with (
        Server(answering(*parts)) as server,
        load(server.url, connections=1, requests=3, keep_bodies=True) as running,
    ):
        running.wait(3)
    result = running.result
    assert result.failed == 0, result.table()
    assert result.bodies == {body: 3}
    assert result.connections == 1


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    with Server(answering(b"HTTP/1.1 200 OK\r\n\r\n", b"o", b"k", forever=False)) as server:
        assert get(server.url).body == b"ok"


def test_what_is_sent() -> None:
    with Server(answering(OK)) as server:
        record = get(
            f"{server.url}path?q=1", method="POST", body=b"four", headers={"X-A": "b"}, keep_alive=True
        )
    assert not record.failed
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "POST /path?q=1 HTTP/1.1"
    assert {"Content-Length: 4", "X-A: b", f"Host: {server.url[7:-1]}"} <= set(lines)
    assert "Connection: close" not in lines


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (answering(b"", forever=False), "closed without an answer"),
        (answering(OK[:20], forever=False), "closed in the answer's head"),
        (answering(OK[:-1], forever=False), "closed in the answer's body"),
        (answering(b"SSH-2.0-x\r\n\r\n"), "not an HTTP answer"),
        (answering(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), "status 503"),
        (answering(), "no answer within 0.2 s"),
    ],
)
def test_each_kind_of_failure_has_its_name(handler: Handler, error: str) -> None:
    with Server(handler) as server:
        assert get(server.url, timeout=0.2).error == error


def test_a_reset_is_a_failure() -> None:
    async def reset(requests: Requests, writer: asyncio.StreamWriter) -> None:
        await requests.next()
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with Server(reset) as server:
        assert get(server.url).error == "reset by the server"


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert get(f"http://127.0.0.1:{port}/").error == "connect: Connection refused"


def test_a_kept_connection_that_was_closed_before_the_request_is_opened_anew() -> None:
    # One answer a connection, without `Connection: close`; the client thinks before it asks again.
    with (
        Server(answering(OK, forever=False)) as server,
        load(server.url, connections=1, think=0.1) as running,
    ):
        running.wait(3)
    result = running.result
    assert result.failed == 0, result.table()
    assert result.connections == result.requests
    assert result.reconnects == result.requests - 1


def test_a_kept_connection_that_ends_after_the_request_was_sent_is_a_failure() -> None:
    async def one_and_a_half(requests: Requests, writer: asyncio.StreamWriter) -> None:
        await requests.next()
        writer.write(OK)
        await requests.next()

    with Server(one_and_a_half) as server, load(server.url, connections=1, requests=2) as running:
        running.wait(2)
    assert [record.error for record in running.result.records] == ["", "closed without an answer"]
    assert running.result.reconnects == 0


@pytest.mark.parametrize(
    ("keep_alive", "answer", "connections"),
    [
        (True, OK, 1),
        (False, OK, 4),
        (True, OK.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n"), 4),
        (True, OK.replace(b"1.1", b"1.0"), 4),
        (True, OK.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), 1),
    ],
)
def test_how_long_a_connection_is_kept(keep_alive: bool, answer: bytes, connections: int) -> None:
    with Server(answering(answer)) as server:
        with load(server.url, connections=1, requests=4, keep_alive=keep_alive) as running:
            running.wait(4)
        assert running.result.connections == connections
        assert len({record.connection for record in running.result.records}) == connections
        assert running.result.reconnects == 0


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    with Server(answering(OK), unix=path):
        assert get("http://localhost/", unix=path).body == b"ok"


def test_the_address_to_come_from() -> None:
    with Server(answering(OK)) as server:
        assert not get(server.url, source="127.0.0.9").failed
    assert server.peers == ["127.0.0.9"]


def test_an_open_loop_keeps_its_rate_and_counts_from_the_schedule() -> None:
    stalled = threading.Event()

    async def stalls_once(requests: Requests, writer: asyncio.StreamWriter) -> None:
        while True:
            await requests.next()
            if not stalled.is_set():
                stalled.set()
                await asyncio.sleep(0.4)
            writer.write(OK)

    with Server(stalls_once) as server, load(server.url, connections=1, rate=200, requests=200) as running:
        running.wait(200)
    records = running.result.records
    assert running.result.failed == 0
    gaps = [later.start - earlier.start for earlier, later in itertools.pairwise(records)]
    assert all(gap == pytest.approx(1 / 200, abs=1e-6) for gap in gaps)
    # One request was slow. All that were due meanwhile waited too, and say so.
    assert sum(record.latency > 0.1 for record in records) >= 50


def test_phases() -> None:
    with Server(answering(OK)) as server, load(server.url, phase="first", connections=2) as running:
        running.wait(10)
        running.mark("second")
        running.wait(10)
    result = running.result
    first, second = result.phase("first"), result.phase("second")
    assert len(first) + len(second) == result.requests
    assert min(len(first), len(second)) >= 8
    assert (
        max(record.start for record in first) < result.phases[1][1] <= min(record.start for record in second)
    )
    assert [line.split()[0] for line in result.table().splitlines()[1:]] == ["first", "second", "all"]


def test_a_load_counts_while_it_runs_and_ends_what_it_began() -> None:
    async def slow(requests: Requests, writer: asyncio.StreamWriter) -> None:
        while True:
            await requests.next()
            await asyncio.sleep(0.05)
            writer.write(OK)

    with Server(slow) as server, load(server.url, connections=4) as running:
        running.wait(4)
        requests, failed = running.count()
        result = running.stop()
    assert requests >= 8
    assert failed == 0
    assert result.failed == 0
    assert result.requests == len(server.requests)
    assert running.result is result


def test_a_load_in_an_event_loop() -> None:
    async def drive(url: str) -> Result:
        async with Load(url, connections=3) as running:
            await running.wait(9)
            running.mark("later")
            await running.wait(9)
        return running.result

    with Server(answering(OK)) as server:
        result = asyncio.run(drive(server.url))
    assert result.failed == 0
    assert result.requests >= 18
    assert result.phase("later")


def test_a_wait_ends_with_the_load() -> None:
    async def drive(url: str) -> Result:
        async with Load(url, connections=1, requests=2) as running:
            await running.wait(100)
        return running.result

    with Server(answering(OK)) as server:
        assert asyncio.run(drive(server.url)).requests == 2


def test_five_thousand_requests_a_second(answers: str) -> None:
    began = time.thread_time()
    result = asyncio.run(thousands(answers))
    assert result.failed == 0
    assert result.requests >= 5000
    # The client's own work, on one core, whatever else the machine does meanwhile.
    assert (time.thread_time() - began) / result.requests < 1 / 5000


async def thousands(url: str) -> Result:
    async with Load(url, connections=20) as running:
        await running.wait(5000)
    return running.result


@pytest.fixture
def answers() -> Iterator[str]:
    """The address of a server that answers every request."""
    with Server(answering(OK)) as server:
        yield server.url


@pytest.mark.parametrize("rate", [0, 1e6], ids=["closed", "open and behind"])
def test_a_connection_that_never_waits_leaves_the_others_their_turn(
    monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    class Instant(Connection):
        async def request(self) -> tuple[int, bytes]:
            self.number = self.number or next(numbers)
            return 200, b""

    async def drive() -> Result:
        async with Load("http://server/", connections=10, rate=rate, requests=1000) as running:
            await running.wait(1000)
        return running.result

    numbers = itertools.count(1)
    monkeypatch.setattr("tests.client.Connection", Instant)
    shares = Counter(record.connection for record in asyncio.run(drive()).records)
    assert set(shares.values()) == {100}


def test_percentiles_by_nearest_rank() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert [percentile(ordered, p) for p in (50, 99, 99.9, 100)] == [50, 99, 100, 100]
    assert percentile([7.0], 50) == 7


def test_figures_count_failed_requests() -> None:
    records = [Record(0, 0.1, 200, "", 1), Record(1, 0.3, 503, "status 503", 1)]
    seen = figures(records)
    assert (seen.requests, seen.failed, seen.p50, seen.longest) == (2, 1, 0.1, 0.3)
    result = Result(records, [("only", 0.0)])
    assert result.errors == {"status 503": 1}
    assert "1 × status 503" in result.table()


def test_a_table_of_nothing() -> None:
    assert "–" in Result([], [("before", 0.0)]).table()


def test_a_head_that_is_not_http() -> None:
    with pytest.raises(Failure, match="not an HTTP answer"):
        parse_head(b"HTTP/1.1 abc\r\n\r\n")
