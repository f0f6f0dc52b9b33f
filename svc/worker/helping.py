"""Groups: a listener for every so many workers, and who helps whom.

All listeners of an app are bound to the same address (SO_REUSEPORT, socket(7)), and the workers are
divided among them: slot modulo listeners; or, when an app has shrunk to fewer workers than it has
listeners, the listeners among the workers. The kernel walks past every busy waiter of a line, so a line
should be short where many connections come; but a worker at leisure should serve whoever waits.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from svc.worker.accept import FairLine
from svc.worker.listeners import Listener

# Two connections within this time are traffic. It is also the time between two looks at the others'
# listeners during traffic: the longest that a connection waits when all workers of its own are away.
TRAFFIC_SECONDS = 0.005


def number_of(listener: Listener) -> int:
    """The number of a listener in its group: `http-3` is 3, `http` is the first one."""
    found = re.fullmatch(r".*-(\d+)", listener.name)
    return int(found[1]) if found else 0


def divide(
    listeners: Sequence[Listener], slot: str, workers: int
) -> tuple[tuple[Listener, ...], tuple[Listener, ...]]:
    """A worker's own listeners, and those of the others.

    A path has one listener however many there are for an address: it is everybody's. And everything is
    the surge worker's, which stands in for whichever slot is away.
    """
    groups = sorted({number_of(one) for one in listeners if one.is_tcp})
    if not slot.isdecimal() or len(groups) < 2:
        return tuple(listeners), ()
    parts = min(len(groups), workers)
    ours = {number for place, number in enumerate(groups) if place % parts == int(slot) % parts}
    own = tuple(one for one in listeners if not one.is_tcp or number_of(one) in ours)
    return own, tuple(one for one in listeners if one not in own)


def between(listeners: Sequence[Listener], slot: str, workers: int) -> "Leisure | None":
    """How the worker of `slot` helps; None when all listeners are its own."""
    _, others = divide(listeners, slot, workers)
    return Leisure(others) if others else None


@dataclass(slots=True)
class Leisure:
    """Stands in the others' lines, but not while there is traffic: then it looks at them now and then.

    So at leisure every connection finds whoever is free, and the longest line of busy waiters that the
    kernel has to walk past is one group. Without traffic no timer runs.
    """

    others: Sequence[Listener]
    _line: FairLine | None = None
    _last: float = -1e9
    _next: int = 0
    _timer: asyncio.TimerHandle | None = field(default=None)

    def joins(self, line: FairLine) -> None:
        """Begin."""
        self._line = line

    def joined(self) -> None:
        """The worker stands in all lines."""

    def may_take(self, _listener: Listener) -> bool:
        """Whoever is free takes it."""
        return True

    def accepted(self, _listener: Listener, _client: object) -> None:
        """The worker took a connection."""
        assert self._line is not None
        now = self._line.loop.loop.time()
        if self._timer is None and now - self._last < TRAFFIC_SECONDS:
            self._line.stand_aside(self.others)
            self._timer = self._line.loop.loop.call_later(TRAFFIC_SECONDS, self._look)
        self._last = now

    def left(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._line is not None
        loop = self._line.loop.loop
        self._timer = None
        if loop.time() - self._last >= TRAFFIC_SECONDS:
            self._line.stand_in(self.others)
            return
        self._timer = loop.call_later(TRAFFIC_SECONDS, self._look)
        self._line.when_settled(self._take_one)

    def _take_one(self) -> None:
        assert self._line is not None
        # Each time beginning with another one, so that none starves where all workers are saturated.
        turned = [*self.others[self._next :], *self.others[: self._next]]
        if taken := self._line.take_one(turned):
            self._last = self._line.loop.loop.time()
            self._next = (self.others.index(taken) + 1) % len(self.others)
