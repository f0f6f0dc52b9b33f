"""The mark that a killed worker leaves behind, at every moment at which it may be killed."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from svc.cluster.bus import values, wire
from svc.cluster.bus.inbox import Inbox
from svc.cluster.scoreboard import MARK_INCARNATION, MARK_NUMBER


class Killed(BaseException):
    """The worker is killed at this moment."""


class Memory(list[int]):
    """The words of a record, whose writer is killed before one of its writes."""

    writes_left = 1 << 30

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.writes_left:
            raise Killed
        self.writes_left -= 1
        super().__setitem__(key, value)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[socket.socket]:
    """A worker's queue."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind(str(tmp_path / "queue"))
        yield sock


def send(queue: socket.socket, incarnation: int, *numbers: int) -> None:
    """Put a datagram into the queue, of messages whose values are their numbers."""
    kind, _ = values.encode(1)
    frames = [wire.frame(kind, wire.MESSAGE, number, str(number).encode()) for number in numbers]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(wire.header(0, incarnation) + b"".join(frames), queue.getsockname())


@pytest.mark.parametrize("moment", range(32))
def test_a_kill_costs_at_most_the_message_that_was_being_begun(queue: socket.socket, moment: int) -> None:
    sent = [(7, 1), (7, 100), (7, 101), (8, 3), (8, 4), (8, 5), (7, 102), (9, 100), (8, 6)]
    for incarnation, numbers in (
        (7, (1,)),
        (7, (100, 101)),
        (8, (3, 4, 5)),
        (7, (102,)),
        (9, (100,)),
        (8, (6,)),
    ):
        send(queue, incarnation, *numbers)
    memory = Memory([0] * 64)
    begun: list[tuple[int, int]] = []

    def take(_slot: int, incarnation: int, frame: wire.Frame, _fds: list[int]) -> None:
        begun.append((incarnation, frame[3]))

    memory.writes_left = moment
    killed = False
    try:
        Inbox(queue, memory, take).read(1 << 30)  # type: ignore[arg-type]
    except Killed:
        killed = True
        memory.writes_left = 1 << 30
        Inbox(queue, memory, take).read(1 << 30)  # type: ignore[arg-type]
    lost = [message for message in sent if message not in begun]
    assert begun == [message for message in sent if message in begun]  # in order, and none twice
    assert len(lost) <= killed, (lost, memory[MARK_INCARNATION], memory[MARK_NUMBER])
