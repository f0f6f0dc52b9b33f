"""Two machines' worth of workers: each host is a folder, and all of them share one server."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.unit.cluster.hosts import Worker, again, first_line, relayed, who_says

Start = Callable[..., list[Worker]]


@pytest.fixture
def start(redis: RedisServer, tmp_path: Path) -> Iterator[Start]:
    """Start two workers on each of two hosts, a and b."""
    with ExitStack() as closing:

        def begin(**environ: str) -> list[Worker]:
            found = []
            for host in ("a", "b"):
                (tmp_path / host / "svc" / "app").mkdir(parents=True)
                for slot in range(2):
                    worker = Worker(tmp_path / host, slot, 2, redis.url, **environ)
                    closing.callback(worker.close)
                    found.append(worker)
            return found

        yield begin


def test_a_lock_holds_across_hosts_and_is_handed_on(start: Start) -> None:
    a0, a1, b0, b1 = start()
    tokens = [int(a0.do("lock it").split()[2])]
    waiting = [a1, b0, b1]
    for worker in waiting:
        worker.tell("lock it")
    holder = a0
    while waiting:
        assert [line for worker in waiting for line in worker.said()] == []
        assert holder.do("unlock") == "done unlock"
        holder, said = first_line(waiting)
        waiting.remove(holder)
        tokens.append(int(said.removeprefix("done lock ")))
    assert tokens == sorted(set(tokens))


def test_a_killed_holder_is_followed_on_its_host_at_once_and_by_another_after_the_lease(start: Start) -> None:
    a0, a1, b0, _ = start()
    a0.do("lock it")
    a1.tell("lock it")
    a0.kill()
    assert a1.line().startswith("done lock")
    b0.tell("lock it")
    a1.kill()
    assert b0.line().startswith("done lock")


def test_a_job_runs_in_one_worker_of_all_hosts_and_moves_when_its_host_ends(start: Start) -> None:
    workers = start()
    for worker in workers:
        assert worker.do("every 0.05") == "done every"
    holder = who_says("job", workers)
    for worker in workers:
        worker.said()
    for _ in range(20):
        holder.wait("job")
    assert [worker for worker in workers if "job" in "".join(worker.said())] in ([holder], [])
    a, b = workers[:2], workers[2:]
    host, other = (a, b) if holder in a else (b, a)
    for worker in host:
        worker.kill()
    assert who_says("job", other) in other


def test_a_host_that_stands_still_does_no_job_when_it_goes_on(start: Start) -> None:
    workers = start()
    for worker in workers:
        worker.do("every 0.05")
    holder = who_says("job", workers)
    host, other = (workers[:2], workers[2:]) if holder in workers[:2] else (workers[2:], workers[:2])
    for worker in host:
        worker.process.send_signal(signal.SIGSTOP)
    successor = who_says("job", other)
    for worker in host:
        worker.said()
        worker.process.send_signal(signal.SIGCONT)
    for _ in range(20):
        successor.wait("job")
    # What it had begun before it stood still may end now, and no more than that.
    assert len([line for line in holder.said() if line.startswith("job")]) <= 1


def test_workers_of_two_hosts_have_one_cache(start: Start) -> None:
    a0, _, b0, _ = start()
    assert a0.do("set shared") == "done set"
    assert b0.do("get") == "done get shared"


def test_without_the_server_everything_says_so_and_goes_on_afterwards(
    start: Start, redis: RedisServer
) -> None:
    a0, _, b0, _ = start()
    a0.do("set x")
    redis.stop()
    assert a0.do("get").startswith("ServerAway the server at")
    assert b0.do("lock it").startswith("ServerAway")
    redis.start()
    again(b0, "lock it")
    again(a0, "set y")
    assert b0.do("get") == "done get y"


def test_where_asked_each_host_has_its_own_cache_while_the_server_is_away(
    start: Start, redis: RedisServer
) -> None:
    a0, a1, b0, _ = start(SVC_CLUSTER_FALLBACK="1")
    a0.do("set shared")
    redis.stop()
    assert a0.do("get") == "done get None"
    assert a0.do("set of a") == "done set"
    assert a1.do("get") == "done get of a"
    assert b0.do("get") == "done get None"


def test_a_broadcast_reaches_all_workers_of_all_hosts_once_and_in_order(start: Start, tmp_path: Path) -> None:
    workers = start()
    a0 = workers[0]
    relayed(tmp_path)
    for number in range(100):
        a0.tell(f"broadcast-others {number}" if number % 10 == 0 else f"broadcast {number}")
    a0.tell("broadcast end")
    for place, worker in enumerate(workers):
        sender = 0 if place < 2 else None
        wanted = [f"got {n} {sender}" for n in range(100) if worker is not a0 or n % 10]
        seen = []
        while not (line := worker.line()).startswith("got end"):
            seen += [line] if line.startswith("got") else []
        assert seen == wanted


def test_what_comes_while_a_relay_is_killed_reaches_its_host(start: Start, tmp_path: Path) -> None:
    a0, _, b0, b1 = start()
    relayed(tmp_path)
    b0.kill()  # the first that started is the relay
    for number in range(20):
        assert a0.do(f"broadcast {number}") == "done broadcast"
    assert [b1.wait("got") for _ in range(20)] == [f"got {number} None" for number in range(20)]


def test_a_host_whose_workers_were_all_away_gets_what_was_sent(
    start: Start, tmp_path: Path, redis: RedisServer
) -> None:
    a0, _, b0, b1 = start()
    relayed(tmp_path)
    b0.close()
    b1.kill()
    assert a0.do("broadcast while away") == "done broadcast"
    again_b = Worker(tmp_path / "b", 0, 2, redis.url)
    assert again_b.wait("got") == "got while away None"
    again_b.close()


def test_without_the_server_a_broadcast_reaches_this_host_and_says_so(
    start: Start, tmp_path: Path, redis: RedisServer
) -> None:
    a0, a1, b0, _ = start()
    relayed(tmp_path)
    redis.stop()
    assert a0.do("broadcast near").startswith("ServerAway")
    assert a1.wait("got") == "got near 0"
    redis.start()
    again(a0, "broadcast far")
    assert b0.wait("got") == "got far None"
