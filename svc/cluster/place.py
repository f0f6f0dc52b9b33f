"""Where this process stands in its app: what every worker has, also one whose application never asks.

It imports next to nothing. What carries messages and jobs, `svc.cluster.member`, is loaded at the
first call of the cluster API, or when a first message comes.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from svc.cluster.scoreboard import Record
from svc.cluster.slots import Slot, parse, surge_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from svc.cluster.member import Member


@dataclass(slots=True)
class Place:
    """A worker's place: its slot, of how many, the directory where the app's workers meet, and its own record
    there.

    `queue` is where its messages come, None for an app without them. `outside` lets plain handlers run as if
    no event loop ran in their thread. `joined` is told, in any thread, when this process becomes a member.
    `alone` says that it is the only worker of a cluster of its own, outside svc.
    """

    slot: Slot
    slots: int
    generation: str
    directory: Path
    record: Record
    queue: socket.socket | None
    outside: Callable[[], AbstractContextManager[None]] = nullcontext
    joined: "Callable[[Member], None] | None" = None
    alone: bool = False

    def close(self) -> None:
        """Give it up, at the end of the process."""
        if self.queue is not None:
            self.queue.close()
        self.record.close()


here: Place | None = None
"""This process's own: it has one, as it has one process id."""


def take(
    slot: str, slots: int, directory: Path, queue: socket.socket | None, *, alone: bool = False
) -> Place:
    """Take the place of worker `slot`, waiting for a predecessor that has just ended. Raises OSError."""
    global here  # noqa: PLW0603
    number = parse(slot)
    if queue is not None and surge_number(number):
        _empty(queue)
    generation = os.environ.get("SVC_GENERATION", "")
    record = Record(directory, number, generation)
    here = Place(number, slots, generation, directory, record, queue, alone=alone)
    return here


def _empty(queue: socket.socket) -> None:
    """Throw away what came for a surge worker of an earlier rollout, after that had ended."""
    with contextlib.suppress(BlockingIOError):
        while True:
            queue.recv(1, socket.MSG_DONTWAIT)
