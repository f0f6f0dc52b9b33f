"""The cluster API in one process, as on a laptop: every call works, over real sockets."""

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from svc.cluster.member import _name

ROOT = Path(__file__).resolve().parents[3]

PREAMBLE = """
import asyncio, os, socket, sys, time
from svc import cluster
from svc.cluster import blocking, member

def run(work):
    if sys.argv[1] == "uvloop":
        import uvloop
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    return asyncio.run(work)

async def settle():
    await cluster.request(0, "flush")
"""


def check(loop: str, program: str) -> str:
    """Run a program that uses the API, in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + program, loop],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    """Each event loop in turn."""
    return str(request.param)


def test_messages_in_order_and_answers(loop: str) -> None:
    check(
        loop,
        """
got = []

@cluster.on_message
async def slow(message):
    if message.data == "slow":
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return asyncio.current_task() is not None

@cluster.on_message
def take(message):
    got.append(message.data)
    if message.data == "mine":
        message.reply([message.sender, message.id])
        return "not this one"

async def main():
    for number in range(20_000):
        await cluster.send(0, number)
    await cluster.send(0, [b"bytes", {"in": b"side"}])
    await cluster.broadcast("x" * 1_000_000)
    await settle()
    assert got == [*range(20_000), [b"bytes", {"in": b"side"}], "x" * 1_000_000, "flush"]
    assert await cluster.request(0, "slow") is True
    sender, name = await cluster.request(0, "mine")
    assert sender == 0 and name.count("-") == 1
    assert await cluster.request(0, "nobody says a thing") is None
    await cluster.broadcast("not to me", include_self=False)
    await settle()
    assert "not to me" not in got

run(main())
run(settle())  # another loop of the same process
""",
    )


def test_what_goes_wrong_is_said(loop: str) -> None:
    said = check(
        loop,
        """
async def main():
    try:
        await cluster.request(0, "x")
    except cluster.RequestFailed as error:
        print(error)

    @cluster.on_message
    async def fail(message):
        await asyncio.sleep(0)
        raise LookupError("not found")

    for slot in (0, 1, "surge", None, -1):
        try:
            await cluster.request(slot, "x")
        except cluster.ClusterError as error:
            print(error)
    try:
        await cluster.send(0, object())
    except TypeError as error:
        print(error)

run(main())
""",
    )
    assert "worker 0 could not answer: it has no handler for messages" in said
    assert "worker 0 could not answer: LookupError: not found" in said
    assert said.count("there is no worker") == 4
    assert "Traceback" in said  # of the handler, for who reads the log
    assert "only what JSON has" in said


def test_a_full_queue_pushes_back_and_then_goes_on_in_order(loop: str) -> None:
    check(
        loop,
        """
got = []
cluster.on_message(lambda message: got.append(message.data))

async def main():
    await settle()
    me = member.current()
    running = asyncio.get_running_loop()
    running.remove_reader(me.inbox.sock)
    accepted = 0
    try:
        while True:
            await cluster.send(0, accepted, timeout=0.05)
            accepted += 1
    except cluster.QueueFull as error:
        assert isinstance(error, TimeoutError) and error.slots == (0,)
    try:
        await cluster.broadcast("nobody has it", timeout=0.05)
    except TimeoutError:
        pass
    waiting = [asyncio.create_task(cluster.send(0, accepted + more)) for more in range(500)]
    await asyncio.sleep(0)
    asked = asyncio.create_task(cluster.request(0, "asked"))
    await asyncio.sleep(0)
    running.add_reader(me.inbox.sock, me.inbox.read, 7)
    await asyncio.gather(*waiting)
    await asked
    assert got[1:] == [*range(accepted + 500), "asked"], (accepted, got[-600:])

run(main())
""",
    )


def test_the_mark_of_a_predecessor_is_respected(loop: str) -> None:
    """A datagram whose first two messages were begun by a process that was then killed."""
    check(
        loop,
        """
from svc.cluster import scoreboard
from svc.cluster.bus import values, wire
got = []
cluster.on_message(lambda message: got.append(message.data))
me = member.current()
frames = [wire.frame(*values.encode(n)[:1], 0, n, values.encode(n)[1]) for n in range(1, 5)]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
    other.sendto(wire.header(wire.OUTSIDER, 77) + b"".join(frames), me.inbox.sock.getsockname())
    other.sendto(wire.header(wire.OUTSIDER, 76) + frames[0], me.inbox.sock.getsockname())
words = me.place.record.words
words[scoreboard.MARK_INCARNATION], words[scoreboard.MARK_NUMBER] = 77, 2
run(settle())
assert got == [3, 4, 1, "flush"], got
""",
    )


def test_what_is_no_message_is_refused_and_counted(loop: str) -> None:
    check(
        loop,
        """
import array
from svc.cluster import scoreboard
from svc.cluster.bus import values, wire
got = []
cluster.on_message(lambda message: got.append(message.data))
me = member.current()
head = wire.header(wire.OUTSIDER, 77)
where = me.inbox.sock.getsockname()
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
    wrong = [b"", b"x", b"svc\\x02" + bytes(40), head, head + wire.frame(0, 0, 1, b"1")[:-1], head + bytes(5),
             head + wire.frame(0, 0, 1, b"{"), head + wire.frame(9, 0, 1, b"1"), head + wire.frame(0, 7, 1,
             b"1"), head + wire.frame(0, 1, 1, b"1"), head + wire.large(0, 0, 1, 5), bytes(70000)]
    for datagram in wrong:
        other.sendto(datagram, where)
        run(settle())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        # A memory file that its sender could still change, and descriptors that nobody asked for.
        fd = os.memfd_create("loose")
        os.write(fd, b"12345")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd, 0]))]
        other.sendmsg([head + wire.large(0, 0, 1, 5)], rights, 0, where)
        other.sendmsg([head + wire.frame(0, 0, 1, b"1")[:-1]], rights, 0, where)
        os.close(fd)
        run(settle())
    assert len(os.listdir("/proc/self/fd")) == before
assert set(got) == {"flush"}, got
assert me.place.record.words[scoreboard.REFUSED] == len(wrong) + 6, me.place.record.words[scoreboard.REFUSED]
""",
    )


def test_the_plain_form_without_any_event_loop(loop: str) -> None:
    said = check(
        loop,
        """
import threading
got = []

@blocking.on_message
def take(message):
    got.append(message.data)
    return message.data

done = threading.Event()

@blocking.every(0.05)
def job():
    print("job")
    done.set()

blocking.send(0, {"a": b"b"})
blocking.broadcast("all")
assert blocking.request(0, "question") == "question"
assert got == [{"a": b"b"}, "all", "question"]
assert blocking.worker.slot == 0 and blocking.owner("x") == 0 and len(blocking.workers()) == 1
with blocking.lock("a"):
    try:
        with blocking.lock("a", timeout=0.01):
            raise AssertionError
    except TimeoutError:
        pass
assert done.wait(10)
""",
    )
    assert "job" in said


def test_the_plain_form_in_threads_beside_an_event_loop(loop: str) -> None:
    check(
        loop,
        """
got = []

@cluster.on_message
async def take(message):
    got.append(message.data)
    await asyncio.sleep(0)
    return message.data

def work(name):
    with blocking.lock("one"):
        for number in range(300):
            blocking.send(0, [name, number])
    return blocking.request(0, name, timeout=30)

async def main():
    await settle()
    names = list("abcd")
    assert await asyncio.gather(*(asyncio.to_thread(work, name) for name in names)) == names
    for name in names:
        assert [data[1] for data in got if data[0] == name and len(data) == 2] == list(range(300))
    try:
        blocking.request(0, "myself")
    except cluster.ClusterError as error:
        assert "await" in str(error)

run(main())
""",
    )


def test_jobs_and_locks(loop: str) -> None:
    check(
        loop,
        """
runs, inside = [], []
enough = asyncio.Event()

@cluster.every(0.02)
async def job():
    inside.append(1)
    assert sum(inside) == 1
    runs.append(time.monotonic())
    if len(runs) == 2:
        raise ValueError("once")
    await asyncio.sleep(0.03)  # longer than its period
    inside.clear()
    if len(runs) > 5:
        enough.set()

@cluster.every(0.02)
def plain():
    inside.clear()

async def one(name, order):
    async with cluster.lock("it"):
        order.append(name)
        await asyncio.sleep(0)

async def main():
    order = []
    tasks = []
    async with cluster.lock("it"):
        for name in range(5):
            tasks.append(asyncio.create_task(one(name, order)))
            await asyncio.sleep(0)
        tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 3, 4], order
    await cluster.send(0, 1)
    await enough.wait()

for wrong in (0, -1, float("nan")):
    try:
        cluster.every(wrong)
    except ValueError:
        continue
    raise AssertionError
run(main())
""",
    )


def test_handlers_do_not_see_each_others_context(loop: str) -> None:
    check(
        loop,
        """
import contextvars
name = contextvars.ContextVar("name", default="nobody")
seen = []

@cluster.on_message
async def take(message):
    seen.append(name.get())
    name.set(message.data)
    if message.data == "waits":
        await asyncio.sleep(0)
        seen.append(name.get())
    if message.data == "fails":
        raise ValueError

async def main():
    for data in ("first", "waits", "fails", "last"):
        await cluster.send(0, data)
        await settle()

run(main())
assert seen.count("waits") == 1 and set(seen) == {"nobody", "waits"}, seen
""",
    )


def test_a_job_that_comes_later_joins_the_others(loop: str) -> None:
    check(
        loop,
        """
from svc.cluster.leader import Leadership, holders
came = {name: asyncio.Event() for name in ("first", "later", "of a thread")}
me = member.current()

def job(name):
    async def do():
        came[name].set()
    do.__qualname__ = name
    return do

async def main():
    running = asyncio.get_running_loop()
    cluster.every(0.01)(job("first"))
    await came["first"].wait()
    cluster.every(0.01)(job("later"))
    await asyncio.to_thread(cluster.every(0.01), job("of a thread"))
    for event in came.values():
        event.clear()
        await event.wait()
    # All are done by one leader, which is so all the time: another opening of the lock cannot have it.
    assert not Leadership(me.place.directory, 1).take()
    found = holders(me.place.directory.name, me.place.directory.parent)
    assert [(one.job, one.seconds, one.slot, one.pid) for one in found] == [
        (f"__main__.{name}", 0.01, 0, os.getpid()) for name in came
    ], found

run(main())
""",
    )


def test_several_plain_jobs_without_any_event_loop(loop: str) -> None:
    check(
        loop,
        """
import threading
done = [threading.Event(), threading.Event()]

@blocking.every(0.01)
def one():
    done[0].set()

@blocking.every(0.01)
def other():
    done[1].set()

assert all(event.wait(10) for event in done)
""",
    )


def test_a_call_may_be_made_before_the_loop_runs(loop: str) -> None:
    check(
        loop,
        """
got = []
cluster.on_message(lambda message: got.append(message.data))
run(cluster.send(0, "one"))
run(cluster.request(0, "two"))
assert got == ["one", "two"]
""",
    )


def test_importing_it_costs_next_to_nothing() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules)\n"
        "from svc import cluster; print(sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "svc.cluster" in said
    assert "asyncio" not in said
    assert "json" not in said
    assert "logging" not in said


def test_a_worker_whose_application_never_asks_loads_nothing_of_it() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import svc.worker.__main__\n"
        "print(sorted(name for name in sys.modules if name.startswith('svc.cluster')))"
    )
    command = [sys.executable, "-I", "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = ["svc.cluster", "svc.cluster.errors", "svc.cluster.ofd", "svc.cluster.place"]
    assert said == f"{[*names, 'svc.cluster.scoreboard', 'svc.cluster.slots']}\n"


def test_a_job_goes_on_after_what_it_waited_for_was_cancelled(loop: str) -> None:
    said = check(
        loop,
        """
again, calls = asyncio.Event(), []

@cluster.every(0.01)
async def job():
    calls.append(1)
    if len(calls) == 1:
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        await other
    again.set()

async def main():
    await cluster.send(0, 1)
    await asyncio.wait_for(again.wait(), 30)

run(main())
""",
    )
    assert "What the job __main__.job waited for was cancelled:" in said


def test_jobs_begin_when_an_error_of_the_system_is_over(loop: str) -> None:
    said = check(
        loop,
        """
from svc.cluster import leader, ofd
began, open_file, errors = asyncio.Event(), ofd.open_file, [OSError("too many open files")]

def fail_once(path):
    if path.name == leader.NAME and errors:
        raise errors.pop()
    return open_file(path)

ofd.open_file = fail_once

@cluster.every(0.01)
async def job():
    began.set()

async def main():
    await cluster.send(0, 1)
    await asyncio.wait_for(began.wait(), 30)

run(main())
""",
    )
    assert "No job can be done (cluster.every): too many open files" in said


def test_what_is_taken_back_from_a_queue_that_nobody_reads_does_not_stay(loop: str) -> None:
    check(
        loop,
        """
cluster.on_message(print)

async def main():
    await settle()
    me = member.current()
    asyncio.get_running_loop().remove_reader(me.inbox.sock)
    full = 0
    while full < 100:
        try:
            await cluster.broadcast("x", timeout=0)
        except cluster.QueueFull:
            full += 1
    assert len(me.post.outbox.way(0).waiting) == 1, len(me.post.outbox.way(0).waiting)
    while True:
        try:
            me.inbox.sock.recv(1)
        except BlockingIOError:
            break

run(main())
""",
    )


def test_what_one_loop_gathered_leaves_before_another_sends_or_is_told_of(loop: str) -> None:
    said = check(
        loop,
        """
got = []
cluster.on_message(lambda message: got.append(message.data))

async def main():
    await settle()
    me, running = member.current(), asyncio.get_running_loop()
    outbox, other = me.post.outbox, asyncio.new_event_loop()
    for number in range(5):
        await cluster.send(0, number)
    assert outbox.way(0).gathered
    outbox.use(other)
    outbox.use(running)
    await settle()
    assert got == ["flush", 0, 1, 2, 3, 4, "flush"], got
    running.remove_reader(me.inbox.sock)
    try:
        while True:
            blocking.send(0, "x", timeout=0)
    except cluster.QueueFull:
        pass
    outbox.way(0).gather(b"no room")
    outbox.use(other)
    other.close()

run(main())
""",
    )
    assert "1 messages are lost: the queue of worker 0 is full" in said


def test_a_handler_that_is_cancelled_in_its_first_turn_learns_of_it(loop: str) -> None:
    check(
        loop,
        """
seen = []

@cluster.on_message
async def take(message):
    if message.data == "none":
        return "nothing to wait for"
    try:
        if message.data == "itself":
            asyncio.current_task().cancel()
            await asyncio.Event().wait()
        async with asyncio.timeout(message.data):
            await asyncio.Event().wait()
    except TimeoutError:
        return "too late"
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise

async def main():
    for _ in range(2):
        for data in (0, "none", -1, "none"):
            wanted = "nothing to wait for" if data == "none" else "too late"
            assert await cluster.request(0, data, timeout=30) == wanted
        try:
            await cluster.request(0, "itself", timeout=30)
        except cluster.RequestFailed:
            pass
        await cluster.request(0, "none", timeout=30)
    assert seen == ["cancelled"] * 2, seen

run(main())
""",
    )


def test_a_handler_that_lets_out_a_cancellation_at_once_has_failed(loop: str) -> None:
    said = check(
        loop,
        """
@cluster.on_message
async def take(message):
    raise asyncio.CancelledError

async def main():
    try:
        await cluster.request(0, "x", timeout=30)
    except cluster.RequestFailed as error:
        print(error)

run(main())
""",
    )
    assert "worker 0 could not answer: CancelledError" in said
    assert "A handler of messages failed:" in said


def test_plain_handlers_that_ask_lie_upon_each_other_to_some_depth_only(loop: str) -> None:
    check(
        loop,
        """
depths, ended = [], asyncio.Event()

@blocking.on_message
def ask(message):
    depths.append(message.data)
    try:
        blocking.request(0, message.data + 1, timeout=30)
    except cluster.ClusterError:
        ended.set()

async def main():
    member.current().attach(asyncio.get_running_loop())
    blocking.send(0, 1)
    await asyncio.wait_for(ended.wait(), 30)
    assert 2 <= max(depths) < 40, max(depths)

run(main())
""",
    )


def test_a_job_has_the_same_name_in_every_process() -> None:
    class Job:
        def __call__(self) -> None:
            pass

    def report(*given: object, **named: object) -> None:
        pass

    here = f"{__name__}.test_a_job_has_the_same_name_in_every_process.<locals>"
    assert _name(report) == f"{here}.report"
    assert _name(Job()) == f"{here}.Job"
    assert _name(partial(report, "daily", Job(), at=5)) == f"{here}.report('daily', ('at', 5))"


def test_the_helper_sends_in_order_whatever_the_messages_say(tmp_path: Path) -> None:
    folder = tmp_path / "svc" / "app"
    (folder / "bus").mkdir(parents=True)
    sent = [1, {"ask": 8}, 3, {"bid": {"ask": 9}}, 5]
    environ = {
        **os.environ,
        "SVC_APP": "app",
        "SVC_SLOT": "0",
        "SVC_WORKERS": "1",
        "RUNTIME_DIRECTORY": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as queue:
        queue.bind(str(folder / "bus" / "0"))
        command = f'exec "$0" -B -P -m svc.cluster.pipe 3<&{queue.fileno()}'
        with subprocess.Popen(
            ["/bin/bash", "-c", command, sys.executable],
            pass_fds=[queue.fileno()],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as helper:
            assert helper.stdin
            assert helper.stdout
            helper.stdin.write("".join(json.dumps({"to": 0, "data": data}) + "\n" for data in sent))
            helper.stdin.flush()
            got = [json.loads(helper.stdout.readline())["data"] for _ in sent]
            helper.stdin.close()
            helper.wait(30)
    assert got == sent
