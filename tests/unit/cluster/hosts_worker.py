"""A worker of one of several hosts: `python hosts_worker.py FOLDER SLOT SLOTS`.

FOLDER, which ends in /svc/app, stands for the host: other workers of its are there. Each line that comes is a
command with its argument; each line that goes out says what happened: a word and its arguments.
"""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from svc import cluster
from svc.cluster import member, place
from svc.cluster.hosts import lease

lease.SECONDS = 1.0


def say(*words: object) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def work() -> None:
    """Do what is said until there is no more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    me = member.current()

    @cluster.on_message
    def received(message: Any) -> None:
        say("got", message.data, message.sender)

    me.attach(loop)
    me.place.record.state("ready")
    lock = None
    say("ready")
    while line := await reader.readline():
        command, _, argument = line.decode().strip().partition(" ")
        try:
            if command == "broadcast":
                await cluster.broadcast(argument)
            elif command == "broadcast-others":
                await cluster.broadcast(argument, include_self=False)
            elif command == "every":
                cluster.every(float(argument))(refresh)
            elif command == "lock":
                lock = cluster.lock(argument)
                await lock.__aenter__()
                command = f"lock {lock.token}"
            elif command == "unlock":
                assert lock is not None
                await lock.__aexit__(None, None, None)
            elif command == "set":
                cluster.cache.set("key", argument)
            elif command == "get":
                command = f"get {cluster.cache.get('key')}"
        except cluster.ClusterError as error:
            say(type(error).__name__, error)
        else:
            say("done", command)
    me.jobs.stop()
    await me.leave(5.0)
    say("left")


async def refresh() -> None:
    """The job of all hosts."""
    say("job", await asyncio.to_thread(_count))


def _count() -> int:
    hosts = member.current().hosts
    assert hosts is not None
    return int(hosts.server.client.incr("jobs"))


def main() -> None:
    """Take the place and work."""
    folder, slot, slots = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.environ.update(SVC_APP="app", SVC_SLOT=slot, RUNTIME_DIRECTORY=str(folder))
    queue = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = folder / "bus" / slot
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    queue.bind(str(path))
    where = place.take(slot, slots, folder, queue)
    asyncio.run(work())
    member.current().close()
    where.close()


if __name__ == "__main__":
    main()
