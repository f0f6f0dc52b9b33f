"""A process that takes connections, or gives them, for test_handover.py.

    python sibling.py FOLDER SLOT take LOAD        says its slot to each connection that it takes
    python sibling.py FOLDER SLOT give FD…         gives those that are open as FD…

Says `ready` when it listens, or has given. At a line on stdin it closes its door, says `closed`, and
stays; it never ends by itself.
"""

import asyncio
import os
import socket
import sys
from pathlib import Path

from svc.worker.handover import Door, Meeting, Siblings
from svc.worker.log import Journal


def say(text: str) -> None:
    """Tell the test."""
    os.write(1, f"{text}\n".encode())


async def take(meeting: Meeting, load: int) -> None:
    """Open a door; close it at a line on stdin."""
    taken: list[socket.socket] = []

    def adopt(connection: socket.socket) -> None:
        connection.send(f"{meeting.slot}\n".encode())
        taken.append(connection)

    loop = asyncio.get_running_loop()
    door = Door(loop, meeting, adopt, lambda: load + len(taken), Journal())
    door.open()
    say("ready")
    told = asyncio.Event()
    loop.add_reader(0, told.set)
    await told.wait()
    loop.remove_reader(0)
    door.close()
    say("closed")
    await asyncio.Event().wait()


async def give(meeting: Meeting, fds: list[int]) -> None:
    """Give all, as soon as a sibling has reported."""
    changed = asyncio.Event()
    siblings = Siblings(asyncio.get_running_loop(), meeting, lambda _: say("returned"), changed.set, 60.0)
    siblings.seek()
    while not siblings.ready():
        changed.clear()
        await changed.wait()
    say("found")
    os.read(0, 1)  # the test stops the sibling first
    for fd in fds:
        connection = socket.socket(fileno=fd)
        assert siblings.give(connection)
        connection.close()
    say("ready")
    await asyncio.Event().wait()


if __name__ == "__main__":
    folder, slot, mode, *rest = sys.argv[1:]
    joined = Meeting.join(Path(folder), slot)
    asyncio.run(take(joined, int(rest[0])) if mode == "take" else give(joined, [int(fd) for fd in rest]))
