"""Uvicorn's protocol on h11, made strict. H11 counts by itself, but only while an event is not complete."""

from typing import Any

import h11

from svc.worker.edge.strict import PIECE, Strict


class OnH11(Strict):
    """To be mixed with uvicorn's H11Protocol."""

    conn: Any

    def connection_made(self, transport: Any) -> None:
        """Give the parser its limit."""
        self.conn = h11.Connection(h11.SERVER, max_incomplete_event_size=self.head_limit)
        super().connection_made(transport)  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        """Read, in pieces where a head could be larger than the limit."""
        receive = super().data_received  # type: ignore[misc]
        if len(data) <= PIECE or self.conn.their_state is not h11.IDLE:
            receive(data)
        else:
            for start in range(0, len(data), PIECE):
                receive(data[start : start + PIECE])
                if self.transport.get_protocol() is not self:
                    return  # refused, or a WebSocket
        if not self.conn.trailing_data[0]:  # a part of a head, or of what frames a chunk
            self.wait_for_request()
