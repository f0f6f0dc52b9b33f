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
import sys
import time
from collections.abc import Callable

from svc.cluster.bus import wire
from svc.cluster.bus.wire import Frame, Malformed
from svc.cluster.scoreboard import MARK_INCARNATION, MARK_NUMBER, RECEIVED, REFUSED

_CREDENTIALS = struct.Struct("@iII")  # struct ucred, unix(7): pid, uid, gid
_UID = slice(4, 8)
_NO_UID = b"\xff" * 4  # (uid_t) -1, which no user has
_DESCRIPTOR = struct.Struct("@i")
# Plain numbers: the operators of the enumeration that these are would take longer than the rest of a message.
_FLAGS = int(socket.MSG_PEEK | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
_CUT_OFF = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_SOL_SOCKET, _SCM_CREDENTIALS, _SCM_RIGHTS = socket.SOL_SOCKET, socket.SCM_CREDENTIALS, socket.SCM_RIGHTS
_ANCILLARY = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(2 * _DESCRIPTOR.size)
_COMPLAIN_SECONDS = 60.0

TURN = 256
"""The most messages that are begun before requests get their turn again."""

_log = logging.getLogger("svc.cluster")

Ancillary = list[tuple[int, int, bytes]]

Take = Callable[[int, int, Frame, list[int]], None]
"""What a message is given to: the sender's slot and incarnation, the message, descriptors that it may
keep.
"""


class Inbox:
    """Reads one worker's queue. `words` are those of its record, which outlive the process."""

    def __init__(self, sock: socket.socket, words: memoryview, take: Take) -> None:
        self.sock = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._take = take
        self._uid = os.geteuid().to_bytes(4, sys.byteorder)
        self._words = words
        self._begun = -1
        self._fresh = True
        self._buffer = memoryview(bytearray(wire.LIMIT))
        self._datagram = self._buffer[:0]
        self._at = 0
        self._held = False
        self._fds: list[int] = []
        self._slot = self._incarnation = 0
        self._complained = -_COMPLAIN_SECONDS
        self._into = [self._buffer]
        self._recvmsg, self._recv = sock.recvmsg_into, sock.recv

    def readable(self) -> None:
        """Begin what is in the queue, when the event loop says that there is something.

        Most times that is one message, alone in its datagram, and nothing of it asks for more than a look: it
        is begun here, and that no other has come is learned from the event loop, which is cheaper. All else
        is for `read`.
        """
        if self._held or self._fresh:
            self.read(TURN)
            return
        try:
            size, ancillary, cut, _ = self._recvmsg(self._into, _ANCILLARY, _FLAGS)
        except BlockingIOError:
            return
        # Where fewer bytes came, the rest is of a datagram before; and no length fits.
        magic, slot, incarnation, length, kind, what, flags, number = wire.ALONE.unpack_from(self._buffer)
        if (
            size != wire.ALONE_SIZE + length
            or cut & _CUT_OFF
            or magic != wire.MAGIC
            or len(ancillary) != 1
            or ancillary[0][1] != _SCM_CREDENTIALS
            or ancillary[0][2][_UID] != self._uid
        ):
            self._look(size, ancillary, cut)
            self.read(TURN)
            return
        self._held = True
        words = self._words
        if incarnation != self._incarnation:
            self._mark(incarnation)
        words[MARK_NUMBER] = number
        words[RECEIVED] += 1
        self._take(slot, incarnation, (kind, what, flags, number, self._buffer[wire.ALONE_SIZE : size]), [])
        if self._held and self._at == len(self._datagram):  # else a handler that waits has read on
            self._consume()

    def read(self, most: int) -> None:
        """Begin up to `most` messages. A handler that waits in this thread may call this again."""
        words = self._words
        while most:
            at = self._at
            if at == len(self._datagram):
                if self._held:
                    self._consume()
                if not self._peek():
                    return
                continue
            try:
                frame, self._at = wire.frame_at(self._datagram, at)
            except Malformed as error:
                self._refuse(str(error))
                continue
            number = frame[3]
            if number <= self._begun:
                continue  # a predecessor had begun it
            most -= 1
            words[MARK_NUMBER] = number
            words[RECEIVED] += 1
            fds = self._fds
            if fds:
                self._fds = []
                # In the queue the datagram would keep a request's socket open: if this process is killed in
                # the handler, who asked shall know at once, not when a successor has found the mark.
                if frame[1] == wire.REQUEST:
                    self._consume()
            self._take(self._slot, self._incarnation, frame, fds)

    def _peek(self) -> bool:
        """Look at the next datagram; False when there is none."""
        try:
            size, ancillary, cut, _ = self._recvmsg(self._into, _ANCILLARY, _FLAGS)
        except BlockingIOError:
            return False
        self._look(size, ancillary, cut)
        return True

    def _look(self, size: int, ancillary: Ancillary, cut: int) -> None:
        """Find out whose datagram it is that is in the buffer, and whether it is one that is taken."""
        self._held = True
        uid = _NO_UID
        for level, kind, data in ancillary:
            if level != _SOL_SOCKET:
                continue
            if kind == _SCM_CREDENTIALS:
                uid = data[_UID]
            elif kind == _SCM_RIGHTS:
                whole = len(data) - len(data) % _DESCRIPTOR.size
                self._fds += [fd for (fd,) in _DESCRIPTOR.iter_unpack(data[:whole])]
        self._datagram, self._at = self._buffer[:size], wire.HEADER_SIZE
        try:
            if uid != self._uid:
                raise Malformed(f"it comes from user {int.from_bytes(uid, sys.byteorder)}")
            if cut & _CUT_OFF:
                raise Malformed("it is too long")
            self._slot, incarnation = wire.sender(self._datagram)
        except Malformed as error:
            self._refuse(str(error))
            return
        if self._fresh:
            self._find_mark(incarnation)
        if incarnation != self._incarnation:
            self._mark(incarnation)

    def _mark(self, incarnation: int) -> None:
        """Note that what is begun from now on is of another sender."""
        self._incarnation = incarnation
        words = self._words
        if words[MARK_INCARNATION] != incarnation:
            words[MARK_NUMBER] = 0  # first: a number must never stand beside another's incarnation
            words[MARK_INCARNATION] = incarnation

    def _find_mark(self, incarnation: int) -> None:
        """Find out what a predecessor had begun of the first datagram, if anything."""
        words = self._words
        self._begun = words[MARK_NUMBER] if words[MARK_INCARNATION] == incarnation else -1

    def _consume(self) -> None:
        self._held = False
        if self._fresh:
            self._fresh, self._begun = False, -1
        if self._fds:
            self._close_fds()
        self._recv(1)  # the rest of a datagram goes with it, recv(2)

    def _refuse(self, why: str) -> None:
        self._at = len(self._datagram)
        self._close_fds()
        self.refuse(why)

    def _close_fds(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def refuse(self, why: str) -> None:
        """Count a message that is not taken, and say so now and then."""
        self._words[REFUSED] += 1
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN_SECONDS:
            self._complained = now
            _log.warning("a message was refused: %s", why)
