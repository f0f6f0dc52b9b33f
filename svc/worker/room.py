"""Back-pressure: how many requests a worker takes at a time (`concurrency` in svc.toml(5)).

A worker without room is not in the line (`svc.worker.accept`): what comes then goes to a sibling, or waits
in the kernel's queue, where a crash cannot lose it. Requests on connections that it has already wait their
turn. A connection whose client has not sent a request takes no room: who never sends any starves nobody.

Without a limit none of this is there: an ASGI application takes what comes, and a call of a WSGI application
keeps the worker from the line by itself, as the kernel passes by whoever does not wait in epoll_wait.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from svc.worker.accept import FairLine
from svc.worker.middleware import Asgi


@dataclass(slots=True)
class Limited:
    """Room for `limit` requests: `async with` it is to take a place, and to give it back."""

    limit: int
    _taken: int = 0
    _settling: int = 0  # connections that were accepted this very moment: their requests are about to begin
    _waiting: "deque[asyncio.Future[None]]" = field(default_factory=deque)
    _line: FairLine | None = None
    _scheduled: bool = False
    _strangers_turn: bool = False

    def wrap(self, app: Asgi) -> Asgi:
        """`app`, of which at most `limit` requests and WebSockets are in progress; the others wait."""

        async def call(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
                return
            if not self._takes_place():  # not by `async with`, which makes two coroutines for nothing
                await self._wait()
            try:
                await app(scope, receive, send)
            finally:
                self._give_back()

        return call

    async def __aenter__(self) -> None:
        if not self._takes_place():
            await self._wait()

    def _takes_place(self) -> bool:
        """Take a place, if there is one now."""
        if self._taken == self.limit:
            return False
        self._taken += 1
        if self._taken == self.limit:
            self._look_soon()
        return True

    async def _wait(self) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._give_back()  # the place came at the same moment
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._give_back()

    def joined(self, line: FairLine) -> None:
        """The worker stands in line from now on."""
        self._line = line

    def accepted(self) -> None:
        """It took a connection. A request that came with it shall count before the next one is taken."""
        assert self._line is not None
        self._settling += 1
        if self._taken + self._settling >= self.limit:
            self._line.step_out()
        loop = self._line.loop
        loop.loop.call_soon(self._settle, loop.settling_turns)

    def _settle(self, turns: int) -> None:
        assert self._line is not None
        if turns:
            self._line.loop.loop.call_soon(self._settle, turns - 1)
            return
        self._settling -= 1
        self._look_soon()

    def _give_back(self) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():  # its request was cancelled while it waited
                first.set_result(None)
                self._take_a_stranger()
                return
        if self._taken == self.limit:
            self._look_soon()
        self._taken -= 1

    def _take_a_stranger(self) -> None:
        """Clients that keep their connections always have a request waiting where all workers are saturated,
        and would leave new ones in the kernel's queue for ever. So with every second place a new connection
        gets its turn to wait too.
        """
        self._strangers_turn = not self._strangers_turn
        if self._strangers_turn and self._line is not None:
            self._line.take_though_out()

    def _look_soon(self) -> None:
        # In the next turn: in this one a wake-up may have come that the line has not heard of yet. And many a
        # request is over by then, so that the worker keeps its place.
        if not self._scheduled and self._line is not None:
            self._scheduled = True
            self._line.loop.loop.call_soon(self._look)

    def _look(self) -> None:
        self._scheduled = False
        assert self._line is not None
        if self._taken + self._settling >= self.limit:
            self._line.step_out()
        else:
            self._line.step_in()
