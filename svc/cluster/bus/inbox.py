"""Messages on their way in: the worker's queue, which systemd holds, read so that a crash costs no message.

A datagram is looked at (MSG_PEEK), its messages are begun one after the other, and only then is it taken out
of the queue. Before each message is begun its number goes into the scoreboard's memory, which survives this
process: should it be killed now, its successor finds the datagram, and goes on behind that number. So each
message is begun once; a kill costs the one that was being begun at that moment.
"""

import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator

from svc.cluster.bus import wire
from svc.cluster.bus.wire import Frame, Malformed

_CREDENTIALS = struct.Struct("@iII")  # struct ucred, unix(7)
_DESCRIPTOR = struct.Struct("@i")
_FLAGS = socket.MSG_PEEK | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
_ANCILLARY = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(2 * _DESCRIPTOR.size)
_COMPLAIN_SECONDS = 60.0

_log = logging.getLogger("svc.cluster")

Take = Callable[[int, int, Frame, list[int]], None]
"""What a message is given to: the sender's slot and incarnation, the message, descriptors that it may
keep.
"""


class Inbox:
    """Reads one worker's queue. `mark` are two words that outlive the process, `refused` counts."""

    def __init__(self, sock: socket.socket, words: memoryview, mark: int, refused: int, take: Take) -> None:
        self.sock = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._take = take
        self._uid = os.geteuid()
        self._words, self._mark, self._refused = words, mark, refused
        self._begun = words[mark], words[mark + 1]
        self._fresh = True
        self._buffer = bytearray(wire.LIMIT)
        self._view = memoryview(self._buffer)
        self._frames: Iterator[Frame] = iter(())
        self._fds: list[int] = []
        self._slot = self._incarnation = 0
        self._held = False
        self._complained = -_COMPLAIN_SECONDS

    def read(self, most: int) -> None:
        """Begin up to `most` messages. A handler that waits in this thread may call this again."""
        words, mark = self._words, self._mark
        while most:
            try:
                frame = next(self._frames, None)
            except Malformed as error:
                self._refuse(str(error))
                continue
            if frame is None:
                if self._held:
                    self._consume()
                if not self._peek():
                    return
                continue
            if self._fresh and self._incarnation == self._begun[0] and frame.number <= self._begun[1]:
                continue  # a predecessor had begun it
            most -= 1
            words[mark] = self._incarnation
            words[mark + 1] = frame.number
            fds, self._fds = self._fds, []
            self._take(self._slot, self._incarnation, frame, fds)

    def _peek(self) -> bool:
        """Look at the next datagram; False when there is none."""
        try:
            size, ancillary, flags, _ = self.sock.recvmsg_into([self._buffer], _ANCILLARY, _FLAGS)
        except BlockingIOError:
            return False
        self._held = True
        uid = -1
        for level, kind, data in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_CREDENTIALS:
                uid = _CREDENTIALS.unpack(data)[1]
            elif kind == socket.SCM_RIGHTS:
                whole = len(data) - len(data) % _DESCRIPTOR.size
                self._fds += [fd for (fd,) in _DESCRIPTOR.iter_unpack(data[:whole])]
        try:
            if uid != self._uid:
                raise Malformed(f"it comes from user {uid}")
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise Malformed("it is too long")
            self._slot, self._incarnation, self._frames = wire.parse(self._view[:size])
        except Malformed as error:
            self._refuse(str(error))
        return True

    def _consume(self) -> None:
        self._held = False
        self._fresh = False
        self._close_fds()
        self.sock.recv(1)  # the rest of a datagram goes with it, recv(2)

    def _refuse(self, why: str) -> None:
        self._frames = iter(())
        self._close_fds()
        self.refuse(why)

    def _close_fds(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def refuse(self, why: str) -> None:
        """Count a message that is not taken, and say so now and then."""
        self._words[self._refused] += 1
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN_SECONDS:
            self._complained = now
            _log.warning("a message was refused: %s", why)
