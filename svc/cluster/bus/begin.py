"""Begin a coroutine at once, and make a task of it only if it has to wait.

A message counts as taken when its handler has begun, so the handler must begin before the next message is
looked at. A task would begin in the loop's next turn; and most handlers never wait, so most need no task.
What the coroutine sees is the same: its current task is its own from the first step on.
(Python 3.12 has eager tasks; this does the same for 3.11, by the functions that asyncio documents for those
who extend it.)
"""

import asyncio
import contextvars
import types
from collections.abc import Coroutine, Generator
from typing import Any

Work = Coroutine[Any, Any, Any]


Begun = list[tuple[Work, Any]]
"""What a task goes on with, once it is there: a coroutine, and what that waits for."""

Spare = tuple["asyncio.Task[Any]", "asyncio.Future[None]", Begun, contextvars.Context, contextvars.Context]
"""A task that has not begun, what it waits for, what it then goes on with, its context, and a copy of that as
it was.
"""


class Beginner:
    """Begins coroutines in one event loop. `tasks` are those that wait for something."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.tasks: set[asyncio.Task[Any]] = set()
        self._spare: Spare | None = None

    def begin(self, work: Work) -> "asyncio.Task[Any] | None":
        """Run `work` to its end or until it waits, not inside a task; return the task that goes on with it.

        Without a task it has ended, and `StopIteration`-like its value is in `self.value`. What it raises
        passes through.
        """
        if self._spare is None:
            self._spare = self._make()
        task, ready, begun, context, untouched = self._spare
        asyncio._enter_task(self.loop, task)
        try:
            waits_for = context.run(work.send, None)
        except BaseException as ended:
            if context != untouched:
                self.close()  # the next one must not see what this one has set
            if not isinstance(ended, StopIteration):
                raise
            self.value = ended.value
            return None
        finally:
            asyncio._leave_task(self.loop, task)
        self._spare = None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        begun.append((work, waits_for))
        if not ready.done():  # else it has cancelled itself
            ready.set_result(None)
        return task

    def close(self) -> None:
        """Give up the task that is kept in reserve."""
        if self._spare is not None and not self.loop.is_closed():
            self._spare[0].cancel()
        self._spare = None

    def _make(self) -> Spare:
        context = contextvars.copy_context()
        ready, begun = self.loop.create_future(), Begun()
        task = self.loop.create_task(_carry_on(ready, begun), context=context)
        return task, ready, begun, context, context.copy()


async def _carry_on(ready: "asyncio.Future[None]", begun: Begun) -> Any:
    try:
        await ready
    except asyncio.CancelledError as error:
        if not begun:
            raise
        return await _rest(*begun[0], error)  # before it could take over: the coroutine must see it
    return await _rest(*begun[0])


@types.coroutine
def _rest(work: Work, waits_for: Any, thrown: BaseException | None = None) -> Generator[Any, Any, Any]:
    """Do what `await work` would do, from its first wait on, which `thrown` ends."""
    try:
        if thrown is not None:
            if asyncio.isfuture(waits_for):
                waits_for.cancel()
            waits_for = work.throw(thrown)
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:
                waits_for = work.throw(error)
            else:
                waits_for = work.send(sent)
    except StopIteration as ended:
        return ended.value
