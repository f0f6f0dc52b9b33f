"""What children of a worker may do, and what they must not take or hold."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from svc.cluster.leader import Leadership
from svc.cluster.ticket import Ticket

ROOT = Path(__file__).resolve().parents[3]

PREAMBLE = """
import os, select, socket, sys
from pathlib import Path
from svc.cluster import ClusterError, blocking, member, place

folder = Path(sys.argv[1])
os.environ.update(SVC_APP="app", SVC_SLOT="0", RUNTIME_DIRECTORY=str(folder))

def take():
    queue = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    (folder / "bus").mkdir()
    queue.bind(str(folder / "bus" / "0"))
    place.take("0", 1, folder, queue)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The runtime directory of an app."""
    found = tmp_path / "svc" / "app"
    found.mkdir(parents=True)
    return found


def check(program: str, folder: Path) -> str:
    """Run a program that has the environment of a worker; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", PREAMBLE + program, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def a_child() -> Iterator[None]:
    """A child that lives, and does nothing."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(ours)
        os.close(theirs)
        os.waitpid(child, 0)


def test_a_forked_child_asks_as_another_and_takes_nothing_of_its_parent(folder: Path) -> None:
    check(
        """
take()
got, ids = [], []

@blocking.on_message
def take_it(message):
    got.append(message.data)
    ids.append(message.id)
    return os.getpid()

parent, me = os.getpid(), member.current()
blocking.send(0, "before")
child = os.fork()
if child == 0:
    blocking.send(0, "of the child")
    os._exit(blocking.request(0, "asked", timeout=30) != parent)
status = None
while status is None:
    if select.select([me.inbox.sock], [], [], 0.01)[0]:
        me._pump()
    ended, code = os.waitpid(child, os.WNOHANG)
    status = code if ended else None
assert status == 0, status
assert got == ["before", "of the child", "asked"], got
assert len(set(ids)) == 3, ids
""",
        folder,
    )


def test_a_process_that_a_worker_has_started_may_import_the_application_and_is_no_worker(
    folder: Path,
) -> None:
    said = check(
        """
@blocking.every(1)
@blocking.on_message
def handler(message=None):
    raise AssertionError(message)

for call in (lambda: blocking.worker.slot, lambda: blocking.broadcast(1), blocking.lock("x").__enter__):
    try:
        call()
    except ClusterError as error:
        print(error)
""",
        folder,
    )
    assert said.count("the environment of a worker of app, which has started it, but no place among") == 3


def test_a_lock_that_is_left_is_free_while_a_forked_child_lives(tmp_path: Path) -> None:
    first, second = Ticket(tmp_path, "it"), Ticket(tmp_path, "it")
    with a_child():
        first.leave()
        assert second.has_it()
    second.leave()


def test_a_forked_child_does_not_free_what_its_parent_has(tmp_path: Path) -> None:
    held = Ticket(tmp_path, "it")
    child = os.fork()
    if child == 0:
        held.leave()
        os._exit(0)
    os.waitpid(child, 0)
    late = Ticket(tmp_path, "it")
    assert not late.has_it()
    held.leave()
    assert late.has_it()
    late.leave()


def test_a_leader_that_gives_up_is_followed_while_a_forked_child_lives(tmp_path: Path) -> None:
    leader, candidate = Leadership(tmp_path, 0), Leadership(tmp_path, 1)
    assert leader.take()
    with a_child():
        leader.give_up()
        assert candidate.take()
    candidate.give_up()
