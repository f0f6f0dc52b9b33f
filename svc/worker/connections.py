"""From an accepted socket to a protocol with a transport.

The loops' public way is the coroutine `connect_accepted_socket`, which wants a task of its own. A task
for each connection costs more than the coroutine does, which waits only once, for a future of the
loop: so it is driven by hand.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from svc.worker import moving
from svc.worker.log import Journal
from svc.worker.uvicorn_seam import Http

Connecting = Coroutine[Any, Any, Any]


@dataclass(slots=True)
class Adopter:
    """Gives each accepted connection its protocol."""

    http: Http
    loop: asyncio.AbstractEventLoop
    journal: Journal
    _pending: set[Connecting] = field(default_factory=set)
    _settled: "asyncio.Future[None] | None" = None

    @property
    def pending(self) -> int:
        """Connections that are not yet known to `http`."""
        return len(self._pending)

    def adopt(self, connection: socket.socket) -> None:
        """Take over `connection`, which does not block. Both loops set TCP_NODELAY on it."""
        self._connect(connection, self.http.make_protocol)

    def adopt_idle(self, connection: socket.socket) -> None:
        """The same for a connection that a sibling had before: it may be idle as long as it was there."""
        protocol = self.http.make_protocol()
        self._connect(connection, lambda: protocol, lambda: moving.expect_request(protocol))

    def _connect(
        self,
        connection: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        connected: Callable[[], None] | None = None,
    ) -> None:
        connecting = self.loop.connect_accepted_socket(factory, connection)
        self._pending.add(connecting)
        self._drive(connecting, connection, connected)

    def _drive(
        self,
        connecting: Connecting,
        connection: socket.socket,
        connected: Callable[[], None] | None,
        _: object = None,
    ) -> None:
        try:
            waiter = connecting.send(None)
        except StopIteration:
            if connected is not None:
                connected()
        except OSError:
            connection.close()  # the client is gone already
        except Exception as error:
            connection.close()
            self.journal.exception("A connection could not be taken over:", error)
        else:
            waiter._asyncio_future_blocking = False  # as a task says to a future that it waits for
            waiter.add_done_callback(partial(self._drive, connecting, connection, connected))
            return
        self._pending.discard(connecting)
        if self._settled is not None and not self._pending:
            self._settled.set_result(None)
            self._settled = None

    async def settled(self) -> None:
        """Wait until every accepted connection is known to `http`."""
        if self._pending:
            self._settled = self.loop.create_future()
            await self._settled
