"""The drain: finish what is in flight, take nothing new, and cut off no client that may still ask.

A lame duck: from SIGTERM on each answer says `Connection: close`, and a connection on which nothing
happens stays open for a grace period, so that a request already on the wire is answered.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from svc.worker.log import Journal
from svc.worker.uvicorn_seam import Http

GRACE_SECONDS = 1.0  # measured: with 0.5 to 1 s no client of four servers saw a failed request
LOOK_SECONDS = 0.02  # how often connections are looked at while draining
LAST_WORDS_SECONDS = 0.5  # for cancelled requests to end and say so


@dataclass(slots=True)
class Drain:
    """One drain of `http`'s connections, at most `seconds` long."""

    http: Http
    journal: Journal
    seconds: float
    _began: float = 0.0
    _active: dict[Any, float] = field(default_factory=dict)
    _closing: dict[Any, "asyncio.Task[None]"] = field(default_factory=dict)

    async def run(self) -> None:
        """Drain. Returns when no connection is left, or, after the deadline, when the rest was cut off."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self.http.announce_close()
        self._look()
        while self.http.connections or self.http.tasks:
            if loop.time() - self._began >= self.seconds:
                await self._cut_off()
                return
            await asyncio.sleep(LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for protocol in list(self.http.connections):
            if self.http.is_websocket(protocol):
                self._close_websocket(protocol)
                continue
            if protocol not in self._active:
                self._follow(protocol, now)
            if self.http.is_busy(protocol):
                self._active[protocol] = now
            elif now - self._active[protocol] >= GRACE_SECONDS:
                protocol.shutdown()
        for gone in self._active.keys() - self.http.connections:
            del self._active[gone]

    def _follow(self, protocol: Any, now: float) -> None:
        loop = asyncio.get_running_loop()
        self._active[protocol] = now

        def heard() -> None:
            self._active[protocol] = loop.time()

        self.http.listen_in(protocol, heard)

    def _close_websocket(self, protocol: Any) -> None:
        if protocol not in self._closing:
            task = self.http.close_websocket(protocol)
            if task is not None:
                self._closing[protocol] = task

    async def _cut_off(self) -> None:
        """Name what is left, one line each, and end it."""
        waited = f"after {self.seconds:g} s of drain"
        for protocol in list(self.http.connections):
            doing = self.http.look(protocol)
            what = f"{doing.method} {doing.path}" if doing.busy and doing.method else "no complete request"
            self.journal.warning(f"cut off {waited}: {what} from {doing.client}")
        if not self.http.connections:
            self.journal.warning(
                f"cut off {waited}: {len(self.http.tasks)} background tasks of answered requests"
            )
        tasks = [*self.http.tasks, *self._closing.values()]
        for task in tasks:
            task.cancel("the drain has reached its deadline")
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_SECONDS)
        for protocol in list(self.http.connections):
            if protocol.transport is not None:
                protocol.transport.close()
