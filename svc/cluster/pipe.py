"""Messages as lines of JSON, for a worker in a language without datagram sockets of AF_UNIX, such as Node.

The worker starts `python3 -m svc.cluster.pipe` with its queue of messages as descriptor 3, and talks to it by
standard input and output, one JSON object a line. It says

    {"to": 3, "data": …}                a message to one worker; "all" and "others" are names for many
    {"ask": 3, "data": …, "tag": …}     a request
    {"tag": …, "data": …}               the answer to a request that came with this tag

and is told

    {"from": 3, "data": …}              a message
    {"from": 3, "data": …, "tag": …}    a request, to be answered
    {"tag": …, "data": …}               the answer to a request of its own
    {"tag": …, "error": …}              there is none, and why; without a tag: a message that was not sent

What it has been told is out of the queue: if the worker is killed then, it is lost.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from svc.cluster import member, place, scoreboard
from svc.cluster.bus.message import Message
from svc.cluster.member import Member
from svc.worker.runtime import runtime_directory

QUEUE = 3
TIMEOUT = 60.0
LONGEST = 1 << 26  # bytes of a line


class Pipe:
    """Carries messages between `me` and lines."""

    def __init__(self, me: Member, say: Callable[[dict[str, Any]], None]) -> None:
        self._me = me
        self._say = say
        self._asked: dict[str, asyncio.Future[Any]] = {}
        me.handlers.add(self.told, blocking=False)

    async def told(self, message: Message) -> Any:
        """Pass a message on; return the answer to a request, when it comes."""
        line = {"from": message.sender, "data": message.data}
        if not message.wants_answer:
            self._say(line)
            return None
        answer = asyncio.get_running_loop().create_future()
        self._asked[message.id] = answer
        self._say({**line, "tag": message.id})
        return await answer

    async def said(self, line: bytes) -> None:
        """Do what one line says."""
        tag = None
        try:
            words = json.loads(line)
            tag, data = words.get("tag"), words["data"]
            if "ask" in words:
                answer = await self._me.post.request(words["ask"], data, TIMEOUT)
                self._say({"tag": tag, "data": answer})
            elif "to" not in words:
                self._asked.pop(tag).set_result(data)
            elif words["to"] in ("all", "others"):
                await self._me.post.broadcast(data, words["to"] == "all", TIMEOUT)
            else:
                await self._me.post.send(words["to"], data, TIMEOUT)
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
            self._say(said if tag is None else {"tag": tag, **said})


def say(line: dict[str, Any]) -> None:
    """Write a line to the worker."""
    try:
        text = json.dumps(line, ensure_ascii=False)
    except TypeError:
        text = json.dumps({**line, "data": None, "error": "bytes, which JSON does not have"})
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def carry(me: Member) -> None:
    """Carry messages until the worker closes its end. Lines are done one after the other, requests
    meanwhile.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LONGEST, loop)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    pipe = Pipe(me, say)
    me.place.record.state("ready")
    me.attach(loop)
    asking: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        work = pipe.said(line)
        if _asks(line):
            task = loop.create_task(work)
            asking.add(task)
            task.add_done_callback(asking.discard)
        else:
            await work
    await me.leave(TIMEOUT)


def _asks(line: bytes) -> bool:
    """Say whether a line is a request; a message may have the word in its data."""
    if b'"ask"' not in line:
        return False
    try:
        return "ask" in json.loads(line)
    except Exception:
        return False  # `said` says what is wrong with it


def main() -> None:
    """Take part for the worker that started this process."""
    directory = runtime_directory(os.environ.get("SVC_APP", ""))
    if directory is None:
        sys.exit("svc.cluster.pipe: start it in a worker, with its SVC_APP, SVC_SLOT and RUNTIME_DIRECTORY")
    sock = socket.socket(fileno=QUEUE)
    slots = int(os.environ["SVC_WORKERS"])
    where = place.take(os.environ["SVC_SLOT"], slots, directory, sock)
    where.record.words[scoreboard.PID] = os.getppid()
    asyncio.run(carry(member.current()))
    where.close()


if __name__ == "__main__":
    main()
