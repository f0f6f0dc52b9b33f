"""The application's start-up and shutdown, by the ASGI lifespan protocol.

As uvicorn's "auto": an application that does not know the protocol is served without it. One
difference, for the sake of rollouts: an application that has taken `lifespan.startup` and then
raises has failed to start. Uvicorn would serve it, broken.
"""

import asyncio
from typing import Any

from svc.worker.log import Journal, WorkerError, in_one_line
from svc.worker.middleware import Asgi


class Lifespan:
    """One lifespan: `startup`, then `shutdown`. In `state` the application leaves what its requests need."""

    def __init__(self, app: Asgi, state: dict[str, Any] | None, journal: Journal) -> None:
        self._app = app
        self._state = state
        self._journal = journal
        self._inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._answer: dict[str, Any] = {}
        self._taken = False
        self._foreign = False
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._supported = False

    async def startup(self) -> None:
        """Run the application's start-up. Raises WorkerError when it fails; the journal has why."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._ask("lifespan.startup")
        if self._answer.get("type") == "lifespan.startup.complete":
            self._supported = True
        elif self._answer:
            self._explain()
            said = str(self._answer.get("message", "")).strip() or "lifespan.startup.failed"
            raise WorkerError(f"the application's start-up failed: {said.splitlines()[-1]}")
        elif self._error is not None and self._taken and not self._foreign:
            self._explain()
            raise WorkerError(f"the application's start-up failed: {in_one_line(self._error)}")

    async def shutdown(self) -> None:
        """Run the application's shutdown. What goes wrong is said in the journal; the worker ends anyway."""
        if not self._supported or self._task is None or self._task.done():
            return
        await self._ask("lifespan.shutdown")
        if self._answer.get("type") == "lifespan.shutdown.failed" or self._error is not None:
            self._explain()
            self._journal.error("the application's shutdown failed")

    def cancel(self) -> None:
        """Give up waiting for it, at the end of all deadlines."""
        if self._task is not None:
            self._task.cancel()

    def _explain(self) -> None:
        message = str(self._answer.get("message", ""))
        if message:
            self._journal.error(message)
        elif self._error is not None:
            self._journal.exception("Exception in the application's lifespan:", self._error)

    async def _ask(self, kind: str) -> None:
        self._answered.clear()
        self._answer = {}
        await self._inbox.put({"type": kind})
        await self._answered.wait()

    async def _run(self) -> None:
        scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        if self._state is not None:
            scope["state"] = self._state
        try:
            await self._app(scope, self._receive, self._send)
        except BaseException as error:  # and CancelledError, which may be the application's own
            self._error = error
            if self._answer.get("type") == "lifespan.startup.complete" and not self._is_cancelled():
                self._explain()
                self._journal.error(
                    "the application's lifespan ended before its shutdown; serving on without"
                )
        finally:
            self._answered.set()

    def _is_cancelled(self) -> bool:
        return self._task is not None and self._task.cancelling() > 0

    async def _receive(self) -> dict[str, str]:
        message = await self._inbox.get()
        self._taken = True
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message.get("type", "")
        if kind not in {
            "lifespan.startup.complete",
            "lifespan.startup.failed",
            "lifespan.shutdown.complete",
            "lifespan.shutdown.failed",
        }:
            self._foreign = True  # it took the lifespan for a request, so it knows nothing of lifespans
            raise RuntimeError(f"{kind!r} is no message of the lifespan protocol")
        self._answer = message
        self._answered.set()
