"""The functions that an application has registered for messages, and how a message comes to them."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import CoroutineType
from typing import Any

from svc.cluster.bus import wire
from svc.cluster.bus.begin import Beginner
from svc.cluster.bus.message import Message, value_of
from svc.cluster.bus.values import decode
from svc.cluster.bus.wire import Frame

Handler = Callable[[Message], Any]

_log = logging.getLogger("svc.cluster")


def _ignore(_why: str) -> None:
    """Stand in for the inbox's counter."""


class Handlers:
    """All handlers of this process. `plain` says that none of them needs the event loop."""

    def __init__(self) -> None:
        self.functions: list[tuple[Handler, bool]] = []
        self.plain = True
        self.beginner: Beginner | None = None
        self.outside: Callable[[], AbstractContextManager[None]] = nullcontext
        self.refuse: Callable[[str], None] = _ignore

    def add(self, function: Handler, *, blocking: bool) -> None:
        """Register a handler; a blocking one is called as if no event loop ran in its thread."""
        self.functions.append((function, blocking))
        self.plain = self.plain and blocking

    def take(self, slot: int, incarnation: int, frame: Frame, fds: list[int]) -> None:
        """Begin the handlers of one message. Nothing that they raise comes out of here."""
        kind, what, flags, number, value = frame
        if what != wire.MESSAGE or flags or fds:
            self._take_with(slot, incarnation, frame, fds)
            return
        try:
            data = decode(kind, value)
        except ValueError as error:
            self.refuse(str(error))
            return
        message = Message(data, slot, incarnation, number)
        for function, blocking in self.functions:
            self._begin(function, blocking, message)

    def _take_with(self, slot: int, incarnation: int, frame: Frame, fds: list[int]) -> None:
        """Begin the handlers of a request, or of one whose value comes in a memory file."""
        _, what, _, number, _ = frame
        answer_to = None
        try:
            if what not in (wire.MESSAGE, wire.REQUEST):
                raise ValueError(f"{what} is nothing that a worker takes")
            data = value_of(frame, fds)
            if what == wire.REQUEST:
                if not fds:
                    raise ValueError("a request came without a socket for its answer")
                answer_to = socket.socket(fileno=fds.pop())
                answer_to.setblocking(False)
        except (ValueError, OSError) as error:
            self.refuse(str(error))
            return
        finally:
            while fds:
                os.close(fds.pop())
        message = Message(data, slot, incarnation, number, answer_to)
        if answer_to is None:
            for function, blocking in self.functions:
                self._begin(function, blocking, message)
        else:
            self._answer(message)

    def _answer(self, message: Message) -> None:
        """Begin the handlers of a request. The first that returns something, or replies, has answered it."""
        left = len(self.functions)
        if not left:
            message.fail("it has no handler for messages (cluster.on_message)")

        def ended(value: object, error: BaseException | None = None) -> None:
            nonlocal left
            left -= 1
            if not message.wants_answer:
                return
            try:
                if error is not None:
                    message.fail(f"{type(error).__name__}: {error}")
                elif value is not None or not left:
                    message.reply(value)
            except (TypeError, ValueError) as wrong:
                message.fail(str(wrong))
                _log.exception("The answer of a handler cannot travel:", exc_info=wrong)

        for function, blocking in self.functions:
            self._begin(function, blocking, message, ended)

    def _begin(
        self, function: Handler, blocking: bool, message: Message, ended: Callable[..., None] | None = None
    ) -> None:
        try:
            if blocking:
                with self.outside():
                    value = function(message)
            else:
                value = function(message)
            if type(value) is CoroutineType:
                if self.beginner is None:
                    value.close()
                    raise RuntimeError("an async handler needs a running event loop")
                task = self.beginner.begin(value)
                if task is not None:
                    task.add_done_callback(lambda done: _done(done, ended))
                    return
                value = self.beginner.value
        except (Exception, asyncio.CancelledError) as error:
            _log.exception("A handler of messages failed:")
            if ended is not None:
                ended(None, error)
        else:
            if ended is not None:
                ended(value)


def _done(task: "asyncio.Task[Any]", ended: Callable[..., None] | None) -> None:
    if task.cancelled():
        error: BaseException | None = RuntimeError("its handler was cancelled, because it ends")
    else:
        error = task.exception()
        if error is not None:
            _log.error("A handler of messages failed:", exc_info=error)
    if ended is not None:
        ended(None if error is not None else task.result(), error)
