"""A WSGI application called straight from the parser, without a task and without the way through ASGI.

For a request without a body that has come as a whole in one read, which most are. The others, and an answer
that does not come as a whole, and a second request in the same read, go the other way (`svc.worker.wsgi`), at
whatever point it turns out to be so.
"""

import asyncio
import contextvars
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import chain
from typing import Any

from svc.worker.answering import Respond
from svc.worker.edge.gate import TARGET, fault
from svc.worker.edge.strict import FRAMING
from svc.worker.middleware import Proxied, is_proxied
from svc.worker.wsgi import Exchange, GoesOn, WsgiApplication, environ_of

NOT_PLAIN = {*FRAMING, b"expect", b"upgrade"}


def inline(
    protocol_class: Any, app: WsgiApplication, proxied: Proxied, respond: Respond, may: Callable[[], bool]
) -> Any:
    """`protocol_class`, uvicorn's on httptools, which calls `app` itself as long as it `may`."""
    if not hasattr(protocol_class, "_start_asgi_task"):
        return protocol_class  # an older uvicorn
    start = protocol_class._start_asgi_task

    class Inline(protocol_class):  # type: ignore[misc]
        """Keeps the request whose body has not come yet, as long as one read is parsed."""

        _first = False
        _held: Any = None

        def data_received(self, data: bytes) -> None:
            self._first = True
            super().data_received(data)
            self._first = False
            if self._held is not None:
                held, self._held = self._held, None
                start(self, *held)

        def _start_asgi_task(self, cycle: Any, asgi: Any) -> None:
            if not self._first:
                # The one before, in the same read, may have been answered meanwhile.
                if self.transport.is_closing():
                    return
                self._unset_keepalive_if_required()
            if not self._first or asgi is not self.app or not may() or not self._is_plain():
                start(self, cycle, asgi)
            else:
                self._first = False  # the others on this loop shall not wait for a whole pipeline
                self._held = cycle, asgi

        def _is_plain(self) -> bool:
            """Whether the request has no body, and nothing that has to be put right or refused."""
            scope = self.scope
            for name, _ in scope["headers"]:
                if name in NOT_PLAIN:
                    return False
            return TARGET not in scope and not fault(scope)

        def on_message_complete(self) -> None:
            super().on_message_complete()
            if self._held is not None:
                cycle, self._held = self._held[0], None
                context = contextvars.copy_context()  # as each task has one
                goes_on = context.run(_answer, self.loop, cycle, app, proxied, respond)
                if goes_on is not None:
                    task = self.loop.create_task(cycle.run_asgi(goes_on), context=context)
                    task.add_done_callback(self.tasks.discard)
                    self.tasks.add(task)

    Inline.__name__ = protocol_class.__name__
    return Inline


def _answer(
    loop: asyncio.AbstractEventLoop, cycle: Any, app: WsgiApplication, proxied: Proxied, respond: Respond
) -> GoesOn | None:
    """Answer the request; or return what goes on with it, an ASGI application, when there is more to do."""
    scope = cycle.scope
    cycle.message_event.clear()  # as if receive() had been called
    if is_proxied(scope):
        proxied(scope)
    exchange = Exchange(scope, cycle.receive, cycle.send)
    environ = environ_of(scope, BytesIO(), 0)
    asyncio._set_running_loop(None)  # as `outside_the_loop` does; there is no task
    try:
        chunks = app(environ, exchange.start_response)
        try:
            if isinstance(chunks, (list, tuple)):
                whole = b"".join([*exchange.written, *chunks])
                if respond(cycle, *exchange.head(len(whole)), whole[: exchange.left]):
                    return None
                return exchange.finishing(chunks)
            return _first(cycle, exchange, chunks, respond)
        except BaseException as error:
            return exchange.finishing(chunks, _failing(error))
    except BaseException as error:
        return exchange.finishing((), _failing(error))
    finally:
        asyncio._set_running_loop(loop)


def _first(cycle: Any, exchange: Exchange, chunks: Iterable[bytes], respond: Respond) -> GoesOn | None:
    """Answer with the first chunk when it is the whole."""
    left = iter(chunks)
    chunk = next(left, None)
    if chunk is None or exchange.written:
        return exchange.finishing(chunks, chain(() if chunk is None else (chunk,), left))
    head = exchange.head(None)
    if exchange.left != len(chunk) or not respond(cycle, *head, chunk):
        return exchange.finishing(chunks, chain((chunk,), left))
    exchange.begun = True
    for _ in left:
        pass
    if hasattr(chunks, "close"):
        try:
            chunks.close()
        except BaseException as error:
            return exchange.finishing((), _failing(error))
    return None


def _failing(error: BaseException) -> Iterator[bytes]:
    def fail(_: object) -> bytes:
        raise error

    return map(fail, (None,))
