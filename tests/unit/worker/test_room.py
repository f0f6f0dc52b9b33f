"""Back-pressure: what a worker with `concurrency` takes, and what it leaves in the kernel's queue."""

import asyncio
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from svc.worker.room import Limited
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import Client, Worker, listen, run_worker
from tests.unit.worker.test_accepting import cpu_seconds

BEATS = {"WATCHDOG_USEC": "100000"}


def queued(listener: socket.socket) -> int:
    """How many connections wait to be accepted: a listener has that where others have unacknowledged
    segments, tcp_get_info() in net/ipv4/tcp.c.
    """
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("=I", info, 24)[0])


def look_around(*workers: Worker) -> None:
    """Return when the event loops have seen all that has come so far: they have beaten twice since."""
    for worker in workers:
        worker.notifications.setblocking(False)
        try:
            while True:
                worker.notifications.recv(4096)
        except BlockingIOError:
            worker.notifications.setblocking(True)
        for _ in range(2):
            worker.message("WATCHDOG=1")


def upload(client: Client) -> None:
    """Begin a request that is in progress until `finish`."""
    client.send(b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n12")


def finish(client: Client) -> None:
    client.send(b"3")
    assert client.answer()[2].startswith(b"3 bytes")


def is_answered(client: Client) -> bool:
    """Whether something has come for the client by now."""
    return bool(select.select([client.sock], [], [], 0)[0])


@contextmanager
def limited(concurrency: int, variant: Variant, folder: Path, app: str = "asgi_app:app") -> Iterator[Worker]:
    options = ("--loop", variant.loop, "--concurrency", str(concurrency))
    path = [hide(folder, variant.missing)]
    with run_worker(*options, app=app, environment=BEATS, python=variant.python, path=path) as worker:
        yield worker


def test_a_worker_without_room_leaves_connections_in_the_queue(variant: Variant, tmp_path: Path) -> None:
    with limited(2, variant, tmp_path) as worker, ExitStack() as stack:
        first, second = (stack.enter_context(worker.client()) for _ in range(2))
        upload(first)
        upload(second)
        look_around(worker)
        late = [stack.enter_context(worker.client()) for _ in range(3)]
        for client in late:
            client.ask()
        look_around(worker)
        assert queued(worker.listener) == 3
        assert not any(map(is_answered, late))
        finish(first)
        for client in late:  # one after the other through the one place that there is now
            assert client.answer()[0] == 200
        assert queued(worker.listener) == 0
        finish(second)


def test_requests_of_kept_connections_wait_their_turn(variant: Variant, tmp_path: Path) -> None:
    with limited(1, variant, tmp_path) as worker, ExitStack() as stack:
        busy, *others = (stack.enter_context(worker.client()) for _ in range(4))
        for client in others:
            client.get()
        upload(busy)
        look_around(worker)
        for client in others:
            client.ask()
        look_around(worker)
        assert not any(map(is_answered, others))
        finish(busy)
        for client in others:
            assert client.answer()[0] == 200


def test_clients_that_send_nothing_take_no_room(variant: Variant, tmp_path: Path) -> None:
    with limited(1, variant, tmp_path) as worker, ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(worker.client())
            stack.enter_context(worker.client()).send(b"GET / HTTP/1.1\r\nHost:")
        for _ in range(100):  # each takes its turn, and a busy machine has others in between
            if not queued(worker.listener):
                break
            look_around(worker)
        assert queued(worker.listener) == 0
        assert stack.enter_context(worker.client()).get()[0] == 200


def test_a_websocket_takes_room_for_as_long_as_it_is_open(loop: str) -> None:
    hello = b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    options = ("--loop", loop, "--concurrency", "1")
    with run_worker(*options, environment=BEATS) as worker, worker.client() as client:
        with worker.client() as talking:
            talking.send(hello + key)
            assert talking.head()[0] == 101
            look_around(worker)
            client.ask()
            look_around(worker)
            assert not is_answered(client)
        assert client.answer()[0] == 200


def test_siblings_take_what_a_full_worker_leaves(loop: str) -> None:
    options = ("--loop", loop, "--workers", "2", "--concurrency", "1")
    with ExitStack() as stack:
        listener = stack.enter_context(listen())
        workers = [
            stack.enter_context(run_worker(*options, listeners=[listener], environment=BEATS))
            for _ in range(2)
        ]
        one = stack.enter_context(Client(listener))
        upload(one)
        look_around(*workers)
        two = stack.enter_context(Client(listener))  # only now: so it is the other worker's
        answers = set()
        for _ in range(20):
            with Client(listener) as client:
                answers.add(client.get()[2])
        assert len(answers) == 1
        upload(two)
        look_around(*workers)
        with Client(listener) as client:
            client.ask()
            look_around(*workers)
            assert queued(listener) == 1
            finish(one)
            answers.add(client.answer()[2])
            assert len(answers) == 2
        finish(two)


def test_a_burst_goes_to_whoever_has_room(loop: str) -> None:
    """No worker takes a second connection while the request that came with the first one is on its way."""
    options = ("--loop", loop, "--workers", "2", "--concurrency", "1")
    with ExitStack() as stack:
        listener = stack.enter_context(listen())
        # As the socket unit does: each request has come when its connection is accepted.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        workers = [
            stack.enter_context(run_worker(*options, listeners=[listener], environment=BEATS))
            for _ in range(3)
        ]
        clients = []
        for _ in range(6):
            clients.append(stack.enter_context(Client(listener)))
            upload(clients[-1])
        look_around(*workers)
        assert queued(listener) == 3
        for client in clients:
            client.send(b"3")
        for client in clients:
            assert client.answer()[0] == 200


def test_new_connections_do_not_starve_where_kept_ones_always_have_a_request(loop: str) -> None:
    options = ("--loop", loop, "--workers", "2", "--concurrency", "1")
    stop = threading.Event()

    def ask_for_ever(client: Client) -> None:
        while not stop.is_set():
            client.get("/slow?seconds=0.002")

    with run_worker(*options) as worker, ExitStack() as stack:
        greedy = [stack.enter_context(worker.client()) for _ in range(6)]
        for client in greedy:
            client.get()
        threads = [threading.Thread(target=ask_for_ever, args=(client,)) for client in greedy]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                with worker.client() as client:
                    assert client.get()[0] == 200
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_a_slow_upload_takes_no_room_of_a_wsgi_worker(variant: Variant, tmp_path: Path) -> None:
    with limited(1, variant, tmp_path, "wsgi_app:app") as worker, ExitStack() as stack:
        slow = [stack.enter_context(worker.client()) for _ in range(3)]
        for client in slow:
            upload(client)
        look_around(worker)
        with worker.client() as client:
            assert client.get()[0] == 200
        for client in slow:
            finish(client)


def test_an_answer_that_a_wsgi_worker_streams_takes_room(variant: Variant, tmp_path: Path) -> None:
    with limited(1, variant, tmp_path, "wsgi_app:app") as worker, ExitStack() as stack:
        reader, client = (stack.enter_context(worker.client()) for _ in range(2))
        reader.ask("/big?bytes=50000000")
        look_around(worker)
        client.ask()
        look_around(worker)
        assert not is_answered(client)
        assert len(reader.answer()[2]) == 50000000
        assert client.answer()[0] == 200


def test_a_wsgi_worker_in_a_call_is_not_in_line(loop: str) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen())
        workers = [
            stack.enter_context(run_worker("--loop", loop, app="wsgi_app:app", listeners=[listener]))
            for _ in range(2)
        ]
        used = {worker.process.pid: cpu_seconds(worker.process.pid) for worker in workers}
        with Client(listener) as busy:
            busy.ask("/busy?seconds=3")
            while not any(cpu_seconds(pid) - before > 0.3 for pid, before in used.items()):
                os.sched_yield()
            answers = set()
            for _ in range(10):
                with Client(listener) as client:
                    answers.add(client.get()[2])
            assert not is_answered(busy)
            assert len(answers) == 1
            assert busy.answer()[0] == 200


def test_what_waits_is_answered_in_a_drain(loop: str) -> None:
    options = ("--loop", loop, "--concurrency", "1")
    with run_worker(*options, environment=BEATS) as worker, ExitStack() as stack:
        busy, waiting = (stack.enter_context(worker.client()) for _ in range(2))
        waiting.get()
        upload(busy)
        look_around(worker)
        waiting.ask()
        look_around(worker)
        worker.terminate()
        finish(busy)
        assert waiting.answer()[0] == 200
        assert worker.ended() == 0


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_never_more_than_the_limit_and_none_is_forgotten(limit: int) -> None:
    """Some requests end by an error or are cancelled, while they wait or later."""
    inside = most = ended = 0

    async def app(scope: dict[str, int], _receive: object, _send: object) -> None:
        nonlocal inside, most, ended
        inside += 1
        most = max(most, inside)
        try:
            for _ in range(scope["turns"]):
                await asyncio.sleep(0)
            if scope["turns"] == 3:
                raise LookupError
            ended += 1
        finally:
            inside -= 1

    async def run() -> None:
        wrapped = Limited(limit).wrap(app)
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = [
            loop.create_task(wrapped({"type": "http", "turns": number % 7}, None, None))  # type: ignore[arg-type]
            for number in range(70)
        ]
        for task in tasks[::5]:
            await asyncio.sleep(0)
            task.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)
            await wrapped({"type": "http", "turns": 0}, None, None)
        assert all(task.done() for task in tasks)

    asyncio.run(run())
    assert most == limit
    assert inside == 0
    assert ended > 40
