"""Leases: one host at a time, renewed, lost, taken over within a host, and never taken from another."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from svc.cluster import LockLost, ServerAway
from svc.cluster.hosts import lease as leases
from svc.cluster.hosts.configured import Hosts
from svc.cluster.hosts.entering import Inside, enter_now, leave_now
from svc.cluster.hosts.server import Server
from svc.cluster.schedule import Job
from tests.redis_server import RedisServer
from tests.unit.cluster.hosts import back


@pytest.fixture
def two(redis: RedisServer, tmp_path: Path) -> Iterator[tuple[Hosts, Hosts]]:
    """Two hosts, each with its own connection."""
    found = [Hosts(Server(redis.url, "svc:app:"), name, tmp_path / name) for name in ("one", "two")]
    yield found[0], found[1]
    for hosts in found:
        hosts.server.close()


def test_one_host_at_a_time_has_it_and_tokens_grow(two: tuple[Hosts, Hosts]) -> None:
    one, other = (hosts.lease("lock", "it") for hosts in two)
    assert one.acquire()
    assert not other.acquire()
    first = one.token
    one.release()
    assert other.acquire()
    assert other.token > first
    one.release()  # what it has no more it cannot give back
    assert other.held
    assert not one.acquire()


def test_the_successor_on_a_host_takes_the_lease_of_a_worker_that_was_killed(
    two: tuple[Hosts, Hosts],
) -> None:
    killed, successor = (two[0].lease("lock", "it") for _ in range(2))
    assert killed.acquire()
    assert successor.acquire()
    killed.release()
    assert not two[1].lease("lock", "it").acquire()


def test_it_is_renewed_for_as_long_as_it_is_held(
    two: tuple[Hosts, Hosts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SECONDS", 2.0)
    lost = threading.Event()
    one = two[0].lease("lock", "it", lost.set)
    assert one.acquire()
    until = one._until
    assert not lost.wait(3.0)
    assert one._until > until
    assert one.held
    assert not two[1].lease("lock", "it").acquire()
    one.release()


def test_a_host_that_is_gone_holds_it_until_the_lease_runs_out(
    two: tuple[Hosts, Hosts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SECONDS", 1.0)
    gone = two[0].lease("lock", "it")
    assert gone.acquire()
    two[0].server.keeper.forget(gone)  # as if the host had lost its power
    got = enter_now(two[1], "it", None, None)
    assert got.token > gone.token
    assert not gone.held
    gone.release()
    assert got.held
    leave_now(got, "it", None)
    with pytest.raises(LockLost, match="the lease of the lock 'it' ran out"):
        leave_now(gone, "it", None)


def test_who_waits_is_let_in_and_who_cannot_wait_longer_is_told(two: tuple[Hosts, Hosts]) -> None:
    async def run() -> list[str]:
        said = []
        first, second = (Inside(hosts, "it") for hosts in two)
        await first.enter(None, None)
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError, match="the lock 'it' was not free"):
            await Inside(two[1], "it").enter(loop.time() + 0.05, 0.05)
        waiting = asyncio.create_task(second.enter(None, None))
        said.append("first")
        await first.leave(None)
        await waiting
        said.append("second")
        await second.leave(None)
        return said

    assert asyncio.run(run()) == ["first", "second"]


def test_what_runs_under_a_lost_lease_is_cancelled(
    two: tuple[Hosts, Hosts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SECONDS", 1.0)

    async def run() -> None:
        inside = Inside(two[0], "it")
        await inside.enter(None, None)
        try:
            two[1].server.client.set(inside.lease.key, "two:99")  # as if the lease had run out
            await asyncio.get_running_loop().create_future()
        except BaseException as error:
            await inside.leave(error)
            raise

    with pytest.raises(LockLost):
        asyncio.run(run())
    assert two[1].server.client.get("svc:app:lock:it") == b"two:99"


def test_a_server_that_is_away_costs_the_lease_and_asking_is_an_error(
    two: tuple[Hosts, Hosts], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SECONDS", 1.0)
    lost = threading.Event()
    one = two[0].lease("lock", "it", lost.set)
    assert one.acquire()
    redis.stop()
    assert lost.wait(30)
    assert not one.held
    with pytest.raises(ServerAway):
        one.acquire()
    redis.start()
    back(two[0].server)
    assert one.acquire()
    one.release()


def test_a_task_that_is_cancelled_while_it_waits_leaves_nothing_behind(two: tuple[Hosts, Hosts]) -> None:
    async def run() -> None:
        waiting = asyncio.create_task(Inside(two[1], "it").enter(None, None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
    lease = two[0].lease("lock", "it")
    assert lease.acquire()
    lease.release()


def test_tokens_grow_also_when_the_server_has_forgotten_them(
    two: tuple[Hosts, Hosts], redis: RedisServer
) -> None:
    before, after = (hosts.lease("lock", "it") for hosts in two)
    assert before.acquire()
    redis.stop()
    redis.start()
    assert after.acquire()
    assert after.token > before.token


def test_tokens_grow_also_when_the_clock_of_the_server_is_set_back(two: tuple[Hosts, Hosts]) -> None:
    lease = two[0].lease("lock", "it")
    far = 9 * 10**15
    two[0].server.client.set("svc:app:token", far)
    assert [lease.acquire() and lease.token for _ in range(2)] == [far + 1, far + 2]
    lease.release()
    assert two[0].server.client.get("svc:app:lock:it") is None


def test_threads_that_wait_do_not_keep_a_holder_from_leaving(two: tuple[Hosts, Hosts]) -> None:
    async def run() -> bool:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        inside, free = Inside(two[0], "it"), threading.Event()
        await inside.enter(None, None)
        waiting = loop.run_in_executor(None, free.wait)
        leaving = asyncio.create_task(inside.leave(None))
        done, _ = await asyncio.wait([leaving], timeout=10)
        free.set()
        await asyncio.gather(waiting, leaving)
        return leaving in done

    assert asyncio.run(run())


@pytest.mark.parametrize("lost_first", [True, False])
def test_a_cancellation_from_outside_is_not_taken_for_that_of_a_lost_lease(
    two: tuple[Hosts, Hosts], lost_first: bool
) -> None:
    async def run() -> None:
        inside = Inside(two[0], "it")
        await inside.enter(None, None)
        task = asyncio.current_task()
        assert task is not None
        for cancel in (inside._cancel, task.cancel) if lost_first else (task.cancel, inside._cancel):
            cancel()
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException as error:
            await inside.leave(error)
            raise

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_a_clock_that_is_set_back_a_little_gives_no_period_two_beginnings(two: tuple[Hosts, Hosts]) -> None:
    async def run() -> None:
        office, job = two[0].office(), Job(print, 3600, "job", blocking=False)
        assert await office.take(lambda: None)
        assert await office.begin(job) == 0.0
        client = two[0].server.client
        last = int(client.get("svc:app:every:job"))
        client.set("svc:app:every:job", last + 50_000)
        assert 3600 < await office.begin(job) < 3601
        client.set("svc:app:every:job", last + 2 * 3600 * 10**6)  # of another server, with a clock ahead
        assert await office.begin(job) == 0.0
        await office.give_up()

    asyncio.run(run())
