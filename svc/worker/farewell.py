"""WebSockets leave one after the other, because their clients come back at once.

Each that is told of the restart (1012) opens a new connection, and a sibling greets it, which takes that
about a millisecond: all at once they would keep every other client waiting.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from svc.worker.uvicorn_seam import Http

PACE_SECONDS = 0.005  # from one to the next, where there is time for it
LOOK_SECONDS = 0.02  # how often to look for those that have been opened meanwhile


@dataclass(slots=True)
class Farewell:
    """Closes the WebSockets of `http`: each is told within `seconds`, however many there are."""

    http: Http
    seconds: float
    _closing: dict[Any, "asyncio.Task[None]"] = field(default_factory=dict)

    @property
    def tasks(self) -> list["asyncio.Task[None]"]:
        """The closing handshakes that were begun."""
        return list(self._closing.values())

    async def run(self) -> None:
        """Close all that there are and those that are still opened; runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.seconds
        while True:
            left = [one for one in self.http.connections if self._is_to_be_told(one)]
            for number, protocol in enumerate(left):
                self._close(protocol)
                pace = max(0.0, end - loop.time()) / (len(left) - number)
                await asyncio.sleep(min(PACE_SECONDS, pace))
            await asyncio.sleep(LOOK_SECONDS)

    def _is_to_be_told(self, protocol: Any) -> bool:
        return protocol not in self._closing and self.http.is_websocket(protocol)

    def _close(self, protocol: Any) -> None:
        if protocol not in self.http.connections:
            return  # its client was faster
        task = self.http.close_websocket(protocol)
        if task is not None:  # else its opening handshake is not done yet
            self._closing[protocol] = task
