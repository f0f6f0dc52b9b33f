"""A message as its handlers see it, and the answer to a request."""

import contextlib
import os
import socket
from typing import Any

from svc.cluster.bus import memfd, values, wire
from svc.cluster.bus.packing import pack
from svc.cluster.bus.wire import Frame
from svc.cluster.slots import Slot


class Message:
    """What another worker sent: `data`, and `sender`, its slot (None when that was no worker)."""

    __slots__ = ("_answer_to", "_incarnation", "_number", "_sender", "data")

    def __init__(
        self, data: Any, sender: int, incarnation: int, number: int, answer_to: socket.socket | None = None
    ) -> None:
        self.data = data
        self._sender = sender
        self._incarnation = incarnation
        self._number = number
        self._answer_to = answer_to

    @property
    def sender(self) -> Slot | None:
        """The slot of the sender; None when that was no worker."""
        return wire.slot_of(self._sender)

    @property
    def id(self) -> str:
        """A text that no other message of this app has, for as long as the host runs."""
        return f"{self._incarnation:016x}-{self._number}"

    @property
    def wants_answer(self) -> bool:
        """Whether it is a request that nobody has answered yet."""
        return self._answer_to is not None

    def reply(self, data: Any) -> None:
        """Answer a request, instead of by the handler's return value. Raises RuntimeError where none is
        due.
        """
        if self._answer_to is None:
            raise RuntimeError("this message is no request, or it has been answered")
        kind, value = values.encode(data)
        self._send(kind, wire.ANSWER, value)

    def fail(self, why: str) -> None:
        """Tell the one who asked that there is no answer."""
        if self._answer_to is not None:
            self._send(values.JSON, wire.FAILURE, values.encode(why[:1000])[1])

    def _send(self, kind: int, what: int, value: bytes) -> None:
        sock, self._answer_to = self._answer_to, None
        assert sock is not None
        head = wire.header(wire.OUTSIDER, self._incarnation)
        with sock, contextlib.suppress(OSError):  # the one who asked may wait no longer
            frame, fds = pack(kind, what, self._number, value)
            try:
                socket.send_fds(sock, [head + frame], fds)
            finally:
                for fd in fds:
                    os.close(fd)


def value_of(frame: Frame, fds: list[int]) -> Any:
    """Return a message's value; its memory file is taken out of `fds`. Raises ValueError."""
    kind, _, flags, _, value = frame
    if not flags & wire.IN_MEMFD:
        return values.decode(kind, value)
    if not fds or len(value) != 8:
        raise ValueError("a large value came without its memory file")
    fd = fds.pop(0)
    try:
        return values.decode(kind, memfd.read(fd, int.from_bytes(value, "little")))
    finally:
        os.close(fd)
