"""Uvicorn's protocols, made strict: a limit for the head of a request, and refusals that come in their turn.

Uvicorn writes its 400 at once, into the middle of answers that are not out yet, and sets no limit where it
parses with httptools.
"""

import sys
from typing import Any

from svc.worker.edge.refusal import refuse

HEADERS = 64 * 1024  # bytes that the head of a request may have
PIECE = 4096  # bytes: what comes in one go is read in pieces, where a limit could be passed within it

FRAMING = (b"content-length", b"transfer-encoding")


def strict(protocol_class: Any, headers: int = HEADERS) -> Any:
    """`protocol_class`, which refuses what it cannot read; `headers` is how many bytes a head may have."""
    kind: type[Strict]
    if hasattr(protocol_class, "on_message_begin"):
        from svc.worker.edge.on_httptools import OnHttptools as kind
    else:
        from svc.worker.edge.on_h11 import OnH11 as kind
    members = {"head_limit": headers, "is_old": not hasattr(protocol_class, "_should_upgrade")}
    return type(protocol_class.__name__, (kind, protocol_class), members)


class Strict:
    """What the protocols on both parsers have in common. To be mixed with one of uvicorn's."""

    head_limit: int
    is_old: bool  # uvicorn 0.17, which refuses to go on where it cannot upgrade
    cycle: Any
    headers: Any
    logger: Any
    loop: Any
    scope: Any
    timeout_keep_alive: int
    timeout_keep_alive_handler: Any
    timeout_keep_alive_task: Any
    transport: Any

    def send_400_response(self, msg: str) -> None:
        """Uvicorn's way to refuse; it calls this while it handles the parser's exception."""
        del msg
        self.refuse(getattr(sys.exc_info()[1], "error_status_hint", 400))

    def refuse(self, status: int) -> None:
        """Read no more, and answer with `status`, if there is room for an answer."""
        refuse(self, status, within_body=self.is_within_body())

    def is_within_body(self) -> bool:
        """Whether the head of a request was read, and its body not."""
        return self.cycle is not None and self.cycle.more_body

    def wait_for_request(self) -> None:
        """Start the timer of an idle connection again; to be called when something was read that is no head.

        Uvicorn stops it at any byte, as if each were of a request: not so an empty line (RFC 9112, section
        2.2), nor the rest of a body that was answered early.
        """
        cycle = self.cycle
        if (
            cycle is not None
            and cycle.response_complete
            and self.timeout_keep_alive_task is None
            and not self.transport.is_closing()
            and self.transport.get_protocol() is self
        ):
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _should_upgrade(self) -> bool:
        # Uvicorn's libraries answer nothing where it is no WebSocket (RFC 6455, section 4.1), and the
        # connection would stay for ever. And HTTP/1.0 has no upgrades: RFC 9110, section 7.8.
        kind = self.scope["method"], self.scope["http_version"]
        opening = kind == ("GET", "1.1") and not any(name in FRAMING for name, _ in self.headers)
        return bool(opening and super()._should_upgrade())  # type: ignore[misc]
