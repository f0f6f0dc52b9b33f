"""Clients that stop in the middle of a request's body: the rest may not be waited for without an end.

Such a request holds memory, a descriptor, and with ASGI one of the places of `concurrency`; a few thousand
that never end are an attack as old as "Slowloris". How fast a body comes is the client's business, so only a
pause counts; and the kernel knows how long it lasts, so that no read pays for it.

Like `svc.worker.uvicorn_seam` this knows uvicorn's protocols from 0.17.6 to the newest.
"""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from svc.worker import moving
from svc.worker.silence import LOOKS, TIMEOUT_ANSWER
from svc.worker.uvicorn_seam import Http

_TCP_INFO = struct.Struct("=52xI")  # tcpi_last_data_recv, milliseconds: tcp_get_info(), net/ipv4/tcp.c


@dataclass(slots=True)
class Pauses:
    """Watches `http`'s connections: a client may pause for `seconds`. `look` does it."""

    http: Http
    seconds: float
    now: Callable[[], float]
    _since: dict[Any, float] = field(default_factory=dict)  # since when we have waited for each

    @property
    def period(self) -> float:
        """How often to call `look`, in seconds: a connection is closed at most that much later."""
        return self.seconds / LOOKS

    def look(self) -> None:
        """Close those whose client has sent nothing for too long, though we were reading all the time."""
        now = self.now()
        self._since = {one: self._since.get(one, now) for one in self.http.connections if _is_awaited(one)}
        for protocol, since in list(self._since.items()):
            # The kernel alone does not know that a client could not send, because we did not read.
            if now - since >= self.seconds and paused_for(protocol) >= self.seconds:
                protocol.transport.write(TIMEOUT_ANSWER)
                protocol.transport.close()


def _is_awaited(protocol: Any) -> bool:
    """Whether the rest of a body is to come, for a request to which nothing has been answered yet.

    Not behind others in a pipeline, nor where the client waits for 100 Continue or for us to read on.
    """
    cycle = getattr(protocol, "cycle", None)  # a WebSocket has none
    return (
        cycle is not None
        and cycle.more_body
        and not cycle.response_started
        and not cycle.waiting_for_100_continue
        and not getattr(protocol, "pipeline", ())
        and not protocol.flow.read_paused
        and not protocol.transport.is_closing()
    )


def paused_for(protocol: Any) -> float:
    """For how many seconds nothing has come; 0 where that is not known: a unix socket has its proxy."""
    try:
        info = moving.socket_of(protocol).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return 0.0
    return float(_TCP_INFO.unpack(info)[0]) / 1000
