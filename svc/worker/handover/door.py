"""The side that takes."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from svc.worker.handover.meeting import Meeting, Report, new_socket, same_user, take
from svc.worker.log import Journal

TURN = 8  # connections taken before our own clients have their turn: less than a millisecond
PAUSE_SECONDS = 1.0  # after running out of descriptors


@dataclass(slots=True, eq=False)
class _Giver:
    """A sibling that is connected; `queue` is None until it has passed it on."""

    channel: socket.socket
    queue: socket.socket | None = None
    taken: int = 0


@dataclass(slots=True)
class Door:
    """Takes connections from siblings and gives each to `adopt`, unread. `load` counts all of ours."""

    loop: asyncio.AbstractEventLoop
    meeting: Meeting
    adopt: Callable[[socket.socket], None]
    load: Callable[[], int]
    journal: Journal
    _listener: socket.socket | None = None
    _givers: set[_Giver] = field(default_factory=set)

    def open(self) -> None:
        """Listen. Where that fails, the worker does without, and says so."""
        hidden = Path(self.meeting.address(f".{self.meeting.slot}"))
        listener = new_socket()
        try:
            hidden.unlink(missing_ok=True)
            listener.bind(str(hidden))
            listener.listen(socket.SOMAXCONN)
            hidden.rename(self._path())  # over what a crash left there
        except OSError as error:
            listener.close()
            self.journal.warning(
                f"{self.meeting.folder}: {error.strerror}; siblings that stop cannot hand connections over"
            )
            return
        self._listener = listener
        self.loop.add_reader(listener, self._accept, listener)

    def close(self) -> None:
        """Let nobody in any more, and adopt what is in the queues by now."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._path().unlink()
            self._accept(self._listener)
            self.loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for giver in list(self._givers):
            if giver.queue is None:
                self._receive_queue(giver)
            while giver in self._givers and giver.queue is not None and self._take_turn(giver):
                pass
            self._drop(giver)

    def _path(self) -> Path:
        return Path(self.meeting.address(self.meeting.slot))

    def _accept(self, listener: socket.socket) -> None:
        while True:
            self.meeting.reserve.release()
            try:
                channel, _ = listener.accept()
            except OSError:
                if not self.meeting.reserve.refill():
                    self.loop.remove_reader(listener)  # it would call again and again
                    self.loop.call_later(PAUSE_SECONDS, self._listen_again, listener)
                return
            if not self.meeting.reserve.refill() or not same_user(channel):
                channel.close()
                self.meeting.reserve.refill()
                continue
            channel.setblocking(False)
            giver = _Giver(channel)
            self._givers.add(giver)
            self.loop.add_reader(channel, self._receive_queue, giver)

    def _listen_again(self, listener: socket.socket) -> None:
        if self._listener is listener:
            self.loop.add_reader(listener, self._accept, listener)

    def _receive_queue(self, giver: _Giver) -> None:
        try:
            _, queue = take(giver.channel, self.meeting.reserve)
        except BlockingIOError:
            return
        except OSError:
            queue = None
        if queue is None:
            self._drop(giver)
            return
        # From now on the queue's end tells of the giver's.
        self.loop.remove_reader(giver.channel)
        giver.queue = queue
        self.loop.add_reader(queue, self._take_turn, giver)
        self._report(giver)

    def _take_turn(self, giver: _Giver) -> int:
        """Take some, and return how many."""
        assert giver.queue is not None
        count, going_on = 0, True
        while count < TURN and going_on:
            try:
                going_on, connection = take(giver.queue, self.meeting.reserve)
            except BlockingIOError:
                break
            except OSError:
                going_on, connection = False, None
            if connection is not None:
                count += 1
                self.adopt(connection)
            elif going_on:
                self.journal.error("a connection that a sibling handed over is lost: no descriptor left")
            if not self.meeting.reserve.refill():
                self.journal.warning("too many open files: taking no connections from siblings")
                going_on = False
        giver.taken += count
        if not going_on:
            self._drop(giver)  # the giver takes back what is left
        elif count:
            self._report(giver)
        return count

    def _report(self, giver: _Giver) -> None:
        with contextlib.suppress(OSError):  # a giver that is gone; what it left in the queue is still taken
            giver.channel.send(Report(self.load(), giver.taken).packed())

    def _drop(self, giver: _Giver) -> None:
        if giver not in self._givers:
            return
        self._givers.remove(giver)
        for one in (giver.channel, giver.queue):
            if one is not None:
                self.loop.remove_reader(one)
                one.close()
