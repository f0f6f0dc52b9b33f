"""From an accepted socket to a protocol with a transport.

The loops' public way is the coroutine `connect_accepted_socket`, which wants a task of its own. A task
for each connection costs more than the coroutine does, which waits only once, for a future of the
loop: so it is driven by hand.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from svc.worker import moving
from svc.worker.log import Journal
from svc.worker.uvicorn_seam import Http

# The coroutine that makes the transport; its socket; what follows.
Pending = tuple[Coroutine[Any, Any, Any], socket.socket, Callable[[], None] | None]


@dataclass(slots=True)
class Adopter:
    """Gives each accepted connection its protocol."""

    http: Http
    loop: asyncio.AbstractEventLoop
    journal: Journal
    _pending: dict["asyncio.Future[Any]", Pending] = field(default_factory=dict)
    _settled: "asyncio.Future[None] | None" = None

    @property
    def pending(self) -> int:
        """Connections that are not yet known to `http`."""
        return len(self._pending)

    def adopt(self, connection: socket.socket) -> None:
        """Take over `connection`. Both loops set O_NONBLOCK and TCP_NODELAY on it."""
        self._connect(connection, self.http.make_protocol)

    def adopt_idle(self, connection: socket.socket) -> None:
        """The same for a connection that a sibling had before: it may be idle as long as it was there."""
        protocol = self.http.make_protocol()
        self._connect(connection, lambda: protocol, lambda: moving.expect_request(protocol))

    def adopt_own(self, connection: socket.socket, scheme: str) -> None:
        """The same for a connection of ours, as if what comes on it had come by `scheme`."""
        protocol: Any = self.http.make_protocol()
        self._connect(connection, lambda: protocol, lambda: setattr(protocol, "scheme", scheme))

    def _connect(
        self,
        connection: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        connected: Callable[[], None] | None = None,
    ) -> None:
        self._drive((self.loop.connect_accepted_socket(factory, connection), connection, connected))

    def _drive(self, pending: Pending) -> None:
        connecting, connection, connected = pending
        try:
            waiter = connecting.send(None)
        except StopIteration:
            if connected is not None:
                connected()
        except Exception as error:
            self._failed(connection, error)
        else:
            waiter._asyncio_future_blocking = False  # as a task says to a future that it waits for
            self._pending[waiter] = pending
            waiter.add_done_callback(self._go_on)

    def _go_on(self, waiter: "asyncio.Future[Any]") -> None:
        self._drive(self._pending.pop(waiter))
        if self._settled is not None and not self._pending:
            self._settled.set_result(None)
            self._settled = None

    def _failed(self, connection: socket.socket, error: Exception) -> None:
        connection.close()
        if not isinstance(error, OSError):  # such as that the client is gone already
            self.journal.exception("A connection could not be taken over:", error)

    async def settled(self) -> None:
        """Wait until every accepted connection is known to `http`."""
        await asyncio.sleep(0)  # those that the loop's own server has accepted are in its next turn
        if self._pending:
            self._settled = self.loop.create_future()
            await self._settled
