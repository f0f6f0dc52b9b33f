"""Clients that stop in the middle: of the body that they send, or of the answer that they take.

Such a request holds memory, a descriptor, and with ASGI one of the places of `concurrency`; a few thousand
that never end are an attack as old as "Slowloris". How fast a client is is its own business, so only a pause
counts. The kernel knows how much has come and gone: no read and no write pays for this.

Like `svc.worker.uvicorn_seam` this knows uvicorn's protocols from 0.17.6 to the newest.
"""

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from svc.worker import moving
from svc.worker.silence import LOOKS, TIMEOUT_ANSWER
from svc.worker.uvicorn_seam import Http

# tcpi_bytes_acked and tcpi_bytes_received: struct tcp_info in the kernel's include/uapi/linux/tcp.h.
_PROGRESS = struct.Struct("=120xQQ")
# struct linger: a reset, and the kernel does not keep what it has for who does not take it; socket(7).
_AT_ONCE = struct.pack("=ii", 1, 0)

Progress = tuple[int, ...]


@dataclass(slots=True)
class Pauses:
    """Watches `http`'s connections: a client may pause for `seconds`. `look` does it."""

    http: Http
    seconds: float
    now: Callable[[], float]
    _seen: dict[Any, tuple[float, Progress]] = field(default_factory=dict)  # whom we wait for: since when

    @property
    def period(self) -> float:
        """How often to call `look`, in seconds: a connection is closed at most that much later."""
        return self.seconds / LOOKS

    def look(self) -> None:
        """Close those that have not gone on for too long."""
        now, before = self.now(), self._seen
        self._seen = {}
        for protocol, progress in self._awaited():
            since, then = before.get(protocol, (now, progress))
            if progress != then:
                since = now
            if now - since < self.seconds:
                self._seen[protocol] = since, progress
            elif moving.is_sending(protocol):
                moving.socket_of(protocol).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                protocol.transport.abort()
            else:
                protocol.transport.write(TIMEOUT_ANSWER)
                protocol.transport.close()

    def _awaited(self) -> Iterator[tuple[Any, Progress]]:
        """Connections that the client is to bring on, and how far they have come."""
        for protocol in list(self.http.connections):
            # A WebSocket has no cycle; its pings tell whether somebody is there.
            if getattr(protocol, "cycle", None) is not None and (
                moving.is_sending(protocol) or _is_receiving(protocol)
            ):
                progress = _progress(protocol)
                if progress is not None:
                    yield protocol, progress


def _is_receiving(protocol: Any) -> bool:
    """Whether the rest of a body is to come, for a request to which nothing has been answered yet.

    Not where the client waits for 100 Continue, or for us to read on, as behind other requests in a pipeline.
    """
    cycle = protocol.cycle
    return (
        cycle.more_body
        and not cycle.response_started
        and not cycle.waiting_for_100_continue
        and not protocol.flow.read_paused
    )


def _progress(protocol: Any) -> Progress | None:
    """Bytes that have gone and come; None where the kernel does not count: a unix socket has its proxy."""
    try:
        info = moving.socket_of(protocol).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _PROGRESS.size)
    except OSError:
        return None
    return _PROGRESS.unpack(info) if len(info) == _PROGRESS.size else None
