"""Clients that stop in the middle of the body that they send, or of the answer that they take."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import Client, Worker, listen, run_worker
from tests.unit.worker.test_room import BEATS, finish, is_answered, look_around, upload

PAUSE = 0.4  # seconds
HEAD = b"POST %b HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n%b\r\n"


@pytest.fixture(params=["asgi_app:app", "wsgi_app:app"])
def worker(variant: Variant, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Worker]:
    with run_worker(
        "--loop",
        variant.loop,
        "--pause",
        str(PAUSE),
        "--head",
        "0",
        app=request.param,
        python=variant.python,
        path=[hide(tmp_path, variant.missing)],
    ) as running:
        yield running


def pause(worker: Worker) -> None:
    """Return when one who paused before has been told so."""
    with worker.client() as other:
        upload(other)
        assert_told(other)


def while_others_are_told(worker: Worker, go_on: Callable[[], int]) -> int:
    """Go on now and then, until two who paused were told one after the other. Return the sum of bytes."""
    stop = threading.Event()

    def keep_on() -> int:
        count = 0
        while not stop.wait(0.05):
            count += go_on()
        return count

    with ThreadPoolExecutor() as pool:
        going = pool.submit(keep_on)
        try:
            for _ in range(2):
                pause(worker)
        finally:
            stop.set()
        return going.result()


def assert_cut_off(client: Client) -> None:
    """Wait for a reset, without a read."""
    poll = select.poll()
    poll.register(client.sock, 0)
    assert poll.poll(30_000)


def assert_told(client: Client) -> None:
    status, headers, body = client.answer()
    assert (status, headers["connection"], body) == (408, "close", b"Request Timeout")
    assert client.rest() == b""


def test_who_pauses_is_told(worker: Worker) -> None:
    with worker.client() as client:
        upload(client)
        assert_told(client)


def test_who_sends_nothing_of_a_body_is_told(worker: Worker) -> None:
    with worker.client() as client:
        client.get()
        client.send(HEAD % (b"/upload", 3, b""))
        assert_told(client)


def test_a_byte_now_and_then_is_enough(loop: str) -> None:
    with run_worker("--loop", loop, "--pause", "1") as worker, worker.client() as client:
        client.send(HEAD % (b"/upload", 1 << 20, b""))
        sent = while_others_are_told(worker, lambda: client.sock.send(b"x"))
        client.send(bytes((1 << 20) - sent))
        assert client.answer()[2] == b"%d bytes\n" % (1 << 20)


def test_idle_connections_and_those_that_wait_for_an_answer_stay(worker: Worker) -> None:
    with ExitStack() as stack:
        idle, waiting = (stack.enter_context(worker.client()) for _ in range(2))
        idle.get()
        waiting.ask("/slow?seconds=1.5")
        for _ in range(2):
            pause(worker)
        assert idle.get()[0] == 200
        assert waiting.answer()[0] == 200


def test_where_the_answer_has_begun_the_client_has_time(loop: str) -> None:
    with run_worker("--loop", loop, "--pause", str(PAUSE)) as worker, worker.client() as client:
        client.send(HEAD % (b"/stream?chunks=2&seconds=1", 3, b""))
        assert client.answer()[2] == b"chunk 0\nchunk 1\nend\n"


def test_who_waits_for_100_continue_has_time(loop: str) -> None:
    with run_worker("--loop", loop, "--pause", str(PAUSE)) as worker, worker.client() as client:
        client.send(HEAD % (b"/slow?seconds=1.5", 3, b"Expect: 100-continue\r\n"))
        assert client.answer()[0] == 200


def test_behind_an_answer_that_is_not_out_yet_the_client_has_time(loop: str) -> None:
    with run_worker("--loop", loop, "--pause", str(PAUSE)) as worker, worker.client() as client:
        client.send(b"GET /slow?seconds=1.5 HTTP/1.1\r\nHost: test\r\n\r\n" + HEAD % (b"/upload", 3, b""))
        assert client.answer()[0] == 200
        assert_told(client)


def test_who_cannot_send_because_nobody_reads_has_time(loop: str) -> None:
    body = bytes(1 << 20)  # more than a worker keeps for an application that does not ask
    with run_worker("--loop", loop, "--pause", str(PAUSE)) as worker, worker.client() as client:
        client.sock.setblocking(False)
        client.send(HEAD % (b"/slow?seconds=1.5", 100 * len(body), b""))
        while True:
            try:
                client.send(body)
            except BlockingIOError:
                break
        client.sock.settimeout(30)
        assert client.answer()[0] == 200


def test_a_place_that_a_paused_body_took_is_free_again(loop: str) -> None:
    options = ("--loop", loop, "--pause", str(PAUSE), "--concurrency", "1")
    with run_worker(*options, environment=BEATS) as worker, worker.client() as paused:
        upload(paused)
        look_around(worker)
        with worker.client() as other:
            assert other.get()[0] == 200
        assert_told(paused)


def test_who_does_not_take_the_answer_is_cut_off(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/big?bytes=50000000")
        assert_cut_off(client)


def test_nor_does_one_stay_whose_connection_is_being_closed(loop: str) -> None:
    with run_worker("--loop", loop, "--pause", str(PAUSE)) as worker, worker.client() as client:
        client.ask("/big?bytes=50000000", headers=["Connection: close"])
        assert_cut_off(client)


def test_who_takes_an_answer_slowly_gets_it(loop: str) -> None:
    with run_worker("--loop", loop, "--pause", "1") as worker, worker.client() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.ask("/big?bytes=50000000")
        headers = client.head()[1]
        taken = while_others_are_told(worker, lambda: len(client.sock.recv(1 << 16)))
        headers["content-length"] = str(50_000_000 - taken)
        client.body(headers)


def test_without_a_limit_nobody_is_told(loop: str) -> None:
    with run_worker("--loop", loop, "--pause", "0", environment=BEATS) as worker, worker.client() as client:
        assert_stays(worker, client)


def test_a_unix_socket_has_its_proxy(loop: str, tmp_path: Path) -> None:
    options = ("--loop", loop, "--pause", str(PAUSE))
    with (
        listen(socket.AF_UNIX, str(tmp_path / "socket")) as listener,
        run_worker(*options, listeners=[listener], environment=BEATS) as worker,
        worker.client() as client,
    ):
        assert_stays(worker, client)


def assert_stays(worker: Worker, client: Client) -> None:
    upload(client)
    for _ in range(8):
        look_around(worker)
    assert not is_answered(client)
    finish(client)
