"""How connections reach workers: what each policy changes in a worker (`policy` in svc.toml(5))."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from svc.worker import helping, steering
from svc.worker.accept import Helping
from svc.worker.cookie import Router, sticky
from svc.worker.cookie.head import name_of
from svc.worker.handover import Meeting
from svc.worker.listeners import Listener
from svc.worker.log import Journal
from svc.worker.middleware import Asgi
from svc.worker.presence import Presence
from svc.worker.sticky import StandIn

POLICIES = ("fair", "sticky-ip", "sticky-cookie")

Adopt = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Fair:
    """Each connection goes to the worker that has waited longest."""

    slot: str
    workers: int
    listeners: Sequence[Listener]

    @property
    def program(self) -> Callable[[int], steering.Program] | None:
        """Which listener a connection comes to. The surge worker has no say: it may be the first to have
        a listener that is new, and it will be gone.
        """
        return steering.at_random if self.slot.isdecimal() else None

    def wrap(self, app: Asgi) -> Asgi:
        """The application, with what the policy adds to its answers."""
        return app

    @property
    def helping(self) -> Helping | None:
        """Whom else the worker serves."""
        return helping.between(self.listeners, self.slot, self.workers)

    def router(self, _loop: asyncio.AbstractEventLoop) -> Callable[[Adopt], Router] | None:
        """What looks at each accepted connection."""
        return None


@dataclass(frozen=True, slots=True)
class StickyIp(Fair):
    """Connections from one address come to one worker's listener."""

    stand_in: StandIn

    @property
    def program(self) -> Callable[[int], steering.Program] | None:
        """By the client's address."""
        return steering.by_address if self.slot.isdecimal() else None

    @property
    def helping(self) -> Helping | None:
        """Those whose worker is away."""
        return self.stand_in

    def wrap(self, app: Asgi) -> Asgi:
        """Sends clients home."""
        return self.stand_in.wrap(app)


@dataclass(frozen=True, slots=True)
class StickyCookie(Fair):
    """Connections go to the worker that the client's cookie names."""

    presence: Presence
    meeting: Meeting
    cookie: bytes

    def wrap(self, app: Asgi) -> Asgi:
        """Sets the cookie."""
        return sticky(app, self.cookie, self.slot, self.presence.is_there)

    def router(self, loop: asyncio.AbstractEventLoop) -> Callable[[Adopt], Router] | None:
        """Reads the cookie."""
        return lambda adopt: Router(loop, self.cookie, self.slot, self.meeting, self.presence, adopt)


def of(
    policy: str,
    app: str,
    slot: str,
    workers: int,
    listeners: Sequence[Listener],
    journal: Journal,
    meeting: Meeting | None,
) -> Fair:
    """The policy of this name. Without a folder where workers meet (started by hand) there is only one."""
    if policy == "fair":
        return Fair(slot, workers, listeners)
    if meeting is None:
        journal.warning(f"policy {policy}: no folder to meet siblings in; serving whoever comes")
        return Fair(slot, workers, listeners)
    presence = Presence.join(meeting.folder.parent, slot, journal)
    if policy == "sticky-ip":
        return StickyIp(slot, workers, listeners, StandIn(listeners, slot, workers, presence))
    return StickyCookie(slot, workers, listeners, presence, meeting, name_of(app))
