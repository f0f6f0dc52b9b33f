"""The side that gives."""

import asyncio
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from svc.worker.handover.meeting import LONGEST_MESSAGE, Meeting, Report, new_socket, put, same_user, take

WINDOW = 16  # connections on their way to one sibling
ANSWER_SECONDS = 0.5  # for a report; a client whose connection is on its way to a hung sibling waits so long
MUTE_SECONDS = 2.0  # for which a sibling that did not report is left alone
CROWD = 32  # siblings to choose from; to ask each of hundreds would cost more than it gains


@dataclass(slots=True, eq=False)
class _Sibling:
    """A sibling that is connected. `load` is None until its first report."""

    slot: str
    channel: socket.socket
    to: socket.socket  # the two ends of the queue
    back: socket.socket
    load: int | None = None
    given: int = 0
    taken: int = 0
    overdue: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Connections in the queue, as far as we know."""
        return self.given - self.taken

    @property
    def expected_load(self) -> int:
        """The connections that it will have when its queue is empty."""
        return (self.load or 0) + self.waiting


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Siblings:
    """Whom a worker can give connections to.

    A connection that is not taken in time comes back: to `returned`, as a new socket. `changed` is called
    when there may be room again, or fewer siblings.
    """

    loop: asyncio.AbstractEventLoop
    meeting: Meeting
    returned: Callable[[socket.socket], None]
    changed: Callable[[], None] = _nothing
    patience: float = ANSWER_SECONDS
    given: int = 0
    _known: dict[str, _Sibling] = field(default_factory=dict)
    _mute: dict[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is one that takes connections, or may say so any moment."""
        return bool(self._known)

    @property
    def waiting(self) -> int:
        """Connections that are given and not yet taken."""
        return sum(sibling.waiting for sibling in self._known.values())

    def seek(self) -> None:
        """Connect to siblings that are not known yet; `give` without a slot chooses among those found so."""
        others = [slot for slot in self.meeting.others() if slot not in self._known]
        room = CROWD - len(self._known)
        for slot in others if len(others) <= room else random.sample(others, max(0, room)):
            self._connect(slot)

    def ready(self) -> bool:
        """Whether `give` would find somebody."""
        return bool(self._able())

    def give(self, connection: socket.socket, slot: str = "") -> bool:
        """Give a connection to the sibling in `slot`, else to the one that has the fewest.

        True when it is given: then close it here (and don't shut it down: it has another descriptor now).
        False when nobody can take it now; to one named slot that means it has no worker or a hung one.
        """
        if slot:
            one = self._known.get(slot) or self._connect(slot)
            chosen = [one] if one is not None and one.waiting < WINDOW else []
        else:
            chosen = self._able()
        for sibling in chosen:
            try:
                put(sibling.to, connection)
            except OSError:
                continue  # no room there, or too many descriptors on their way
            sibling.given += 1
            self.given += 1
            if sibling.overdue is None:
                self._expect(sibling)
            return True
        return False

    def close(self, *, take_back: bool = True) -> None:
        """Part with all. What is on its way comes back, or is left to siblings that may wake up."""
        for sibling in list(self._known.values()):
            self._part(sibling, take_back=take_back)

    def _able(self) -> list[_Sibling]:
        """Those with room in their queue, the fewest connections first, and none that has far more."""
        reported = [one for one in self._known.values() if one.load is not None]
        fewest = min((one.expected_load for one in reported), default=0)
        able = [one for one in reported if one.waiting < WINDOW and one.expected_load - fewest <= WINDOW]
        return sorted(able, key=lambda one: one.expected_load)

    def _connect(self, slot: str) -> _Sibling | None:
        if self._mute.get(slot, 0.0) > self.loop.time():
            return None
        channel = new_socket()
        try:
            channel.connect(self.meeting.address(slot))
            if not same_user(channel):
                raise PermissionError
            to, back = socket.socketpair(
                socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
        except OSError:
            channel.close()  # a socket that a crash left, or that is not for us
            return None
        sibling = _Sibling(slot, channel, to, back)
        try:
            put(channel, back)
        except OSError:
            _close(sibling)
            return None
        self._known[slot] = sibling
        self.loop.add_reader(channel, self._heard, sibling)
        self._expect(sibling)
        return sibling

    def _expect(self, sibling: _Sibling) -> None:
        """Wait for the next report, no longer than we have patience."""
        if sibling.overdue is not None:
            sibling.overdue.cancel()
        sibling.overdue = None
        if sibling.load is None or sibling.waiting > 0:
            sibling.overdue = self.loop.call_later(self.patience, self._late, sibling)

    def _heard(self, sibling: _Sibling) -> bool:
        """Take in all reports that are there; whether there was one."""
        any_report = False
        while self._known.get(sibling.slot) is sibling:
            try:
                message = sibling.channel.recv(LONGEST_MESSAGE)
            except BlockingIOError:
                break
            except OSError:
                message = b""
            report = Report.parse(message)
            if report is None:
                self._part(sibling)
                break
            any_report = True
            sibling.load = report.load
            sibling.taken = report.taken
        if any_report:
            self._expect(sibling)
            self.loop.call_soon(self.changed)
        return any_report

    def _late(self, sibling: _Sibling) -> None:
        # If it was our own loop that stood still, the report is here.
        if not self._heard(sibling) and self._known.get(sibling.slot) is sibling:
            self._mute[sibling.slot] = self.loop.time() + MUTE_SECONDS
            self._part(sibling)

    def _part(self, sibling: _Sibling, *, take_back: bool = True) -> None:
        del self._known[sibling.slot]
        self.loop.remove_reader(sibling.channel)
        if sibling.overdue is not None:
            sibling.overdue.cancel()
        while take_back:
            try:
                going_on, connection = take(sibling.back, self.meeting.reserve)
            except OSError:
                break  # it is empty
            if connection is not None:
                self.given -= 1
                self.returned(connection)
            if not going_on:
                break
        _close(sibling)
        self.loop.call_soon(self.changed)


def _close(sibling: _Sibling) -> None:
    for one in (sibling.channel, sibling.to, sibling.back):
        one.close()
