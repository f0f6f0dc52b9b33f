"""sticky-ip: each client's connections come to a listener of its own worker (`svc.worker.steering`).

A worker keeps to its own listeners. It stands in the line of another's only while that worker is not
there (`svc.worker.presence`): stopped, crashed, restarting, draining. One that is busy or hangs is there,
and its clients wait for it.

Kept-alive connections that came here while their worker was away, or from its drain, are closed after their
next answer as soon as it is back: the client finds its way home.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from svc.worker.accept import FairLine
from svc.worker.answering import CLOSE
from svc.worker.helping import number_of
from svc.worker.listeners import Listener
from svc.worker.middleware import Asgi
from svc.worker.presence import Presence
from svc.worker.steering import place_of


def home_of(listener: Listener, workers: int) -> str:
    """The slot whose listener it is; a listener that is left of an app that was larger is taken on."""
    return str(number_of(listener) % workers)


# A sibling that stood in for us and was woken for our client leaves it to us, but the wake-up was its own:
# so we look by ourselves for as long as siblings may need to hear that we are there.
LOOK_SECONDS = (0.01, 0.05, 0.2)


@dataclass(slots=True)
class StandIn:
    """Stands in the lines of workers that are away. The surge worker has no line of its own."""

    listeners: Sequence[Listener]
    slot: str
    workers: int
    presence: Presence
    _line: FairLine | None = None
    _others: dict[str, list[Listener]] = field(default_factory=dict)
    _looks: list[asyncio.TimerHandle] = field(default_factory=list)
    _size: int = 1  # of the group
    _ours: set[int] = field(default_factory=set)  # places of our own listeners in it, as far as we know

    def joins(self, line: FairLine) -> None:
        """Say that we are there: from now on the others leave our clients to us."""
        self._line = line
        self._size = len({number_of(listener) for listener in self.listeners})
        for listener in self.listeners:
            home = home_of(listener, self.workers)
            if home != self.slot:
                self._others.setdefault(home, []).append(listener)
                line.stand_aside([listener])
        if self.slot.isdecimal():
            self.presence.announce()

    def joined(self) -> None:
        """Begin to watch the others."""
        assert self._line is not None
        loop = self._line.loop.loop
        if self._others:
            self.presence.watch(loop, self._look)
        self._look()
        self._looks = [loop.call_later(seconds, self._line.look) for seconds in LOOK_SECONDS]

    def may_take(self, listener: Listener) -> bool:
        """Not when its worker has come back this very moment."""
        home = home_of(listener, self.workers)
        if home == self.slot or not self.presence.is_there(home):
            return True
        self._look()
        return False

    def accepted(self, listener: Listener, client: Any) -> None:
        """Learn the place of our listener: the kernel tells it nobody, but where its clients arrive."""
        if home_of(listener, self.workers) == self.slot:
            self._ours.add(place_of(client[0], self._size))

    def sends_home(self, client: str) -> bool:
        """Whether a client is another worker's, and that is there. Who is whose is known to themselves only,
        so all have to be there.
        """
        if not self._ours or place_of(client, self._size) in self._ours:
            return False
        return all(self.presence.is_there(home) for home in self._others)

    def wrap(self, app: Asgi) -> Asgi:
        """`app`, whose answers close a connection that belongs elsewhere."""

        async def call(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or not self._is_elsewheres(scope):
                await app(scope, receive, send)
                return

            async def send_and_close(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
                await send(message)

            await app(scope, receive, send_and_close)

        return call

    def _is_elsewheres(self, scope: Any) -> bool:
        # Behind a proxy `client` is what that one says, and not who is connected.
        client = scope.get("client")
        return (
            client is not None
            and all(name != b"x-forwarded-for" for name, _ in scope["headers"])
            and self.sends_home(client[0])
        )

    def left(self) -> None:
        """Let the others stand in for us."""
        for timer in self._looks:
            timer.cancel()
        self.presence.close()

    def _look(self) -> None:
        assert self._line is not None
        for home, listeners in self._others.items():
            if self.presence.is_there(home):
                self._line.stand_aside(listeners)
            else:
                self._line.stand_in(listeners)
