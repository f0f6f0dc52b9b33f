"""sticky-ip: each client's connections come to a listener of its own worker (`svc.worker.steering`).

A worker keeps to its own listeners. It stands in the line of another's only while that worker is not
there (`svc.worker.presence`): stopped, crashed, restarting, draining. One that is busy or hangs is there,
and its clients wait for it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from svc.worker.accept import FairLine
from svc.worker.helping import number_of
from svc.worker.listeners import Listener
from svc.worker.presence import Presence


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

    def joins(self, line: FairLine) -> None:
        """Say that we are there: from now on the others leave our clients to us."""
        self._line = line
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

    def accepted(self) -> None:
        """Nothing: who helps whom is not a matter of traffic."""

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
