"""Requests: a message with a socket for its answer. That the one who was asked has died is known at once."""

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from svc.cluster.bus import wire
from svc.cluster.bus.message import value_of
from svc.cluster.errors import RequestFailed

_ANCILLARY = 2  # descriptors that an answer may bring


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends for one answer: ours, and the one that goes with the request."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


async def answer(loop: asyncio.AbstractEventLoop, ours: socket.socket, timeout: float, slot: object) -> Any:
    """Wait for the answer and return it. Raises RequestFailed, TimeoutError."""
    readable: asyncio.Future[None] = loop.create_future()

    def came() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(ours, came)
    try:
        await asyncio.wait_for(readable, max(timeout, 0.0))
    except TimeoutError:
        raise TimeoutError(f"worker {slot} did not answer in time") from None
    finally:
        loop.remove_reader(ours)
    return _read(ours, slot)


def answer_now(
    ours: socket.socket, deadline: float, slot: object, inbox: int | None, pump: Callable[[], None]
) -> Any:
    """Wait for the answer in this thread, until `deadline` of time.monotonic().

    Where this thread is the one that reads the descriptor `inbox`, `pump` is called when messages
    come: two workers that ask each other would else wait for ever.
    """
    poll = select.poll()
    poll.register(ours, select.POLLIN)
    if inbox is not None:
        poll.register(inbox, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)]
        if ours.fileno() in ready:
            return _read(ours, slot)
        if not ready:
            raise TimeoutError(f"worker {slot} did not answer in time")
        pump()


def _read(ours: socket.socket, slot: object) -> Any:
    try:
        data, fds, _, _ = socket.recv_fds(ours, wire.LIMIT, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        data, fds = b"", []
    try:
        if not data:
            raise RequestFailed(f"worker {slot} ended before it had answered")
        packet = memoryview(data)
        wire.sender(packet)
        frame, _ = wire.frame_at(packet, wire.HEADER_SIZE)
        value = value_of(frame, fds)
    except ValueError as error:
        raise RequestFailed(f"worker {slot} answered what cannot be read: {error}") from None
    finally:
        for fd in fds:
            os.close(fd)
    if frame[1] != wire.ANSWER:
        raise RequestFailed(f"worker {slot} could not answer: {value}")
    return value
