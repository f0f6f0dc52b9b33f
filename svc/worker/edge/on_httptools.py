"""Uvicorn's protocol on httptools, made strict. Httptools has no limits: what a head has is counted here."""

import re
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from svc.worker.edge.gate import TARGET
from svc.worker.edge.strict import FRAMING, PIECE, Strict

_SLASH, _HASH = b"/#"
_NO_PATH = re.compile(rb"\A[A-Za-z]+://[^/?#]+(?=[?#]|\Z)")  # it means "/": RFC 9110, section 4.2.3


class OnHttptools(Strict):
    """To be mixed with uvicorn's HttpToolsProtocol.

    `unread` is the number of bytes that a head has so far, or a body since its last byte: extensions of
    chunks and trailers.
    """

    unread = 0
    parser: Any
    url: bytes
    timeout_keep_alive_task: Any

    def data_received(self, data: bytes) -> None:
        """Read; in uvicorn's place, which does not say what follows an upgrade.

        A request that comes whole takes a short way through.
        """
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()  # type: ignore[attr-defined]
        before = self.cycle
        if self.unread or len(data) > PIECE:
            self._read_in_pieces(data)
            if not self._is_within_head():
                self.wait_for_request()
            return
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._stopped(error, data)
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            # With other requests before it, a head has begun somewhere in these bytes.
            self.unread = len(data) if cycle is before else 1
            return
        if cycle.more_body:
            self.unread = 1
        if cycle.response_complete:
            self.wait_for_request()

    def _read_in_pieces(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            before = self.cycle
            fresh = before is None or not before.more_body
            self.unread += len(piece)
            self._feed(piece)
            if self.transport.get_protocol() is not self:
                return  # refused, or a WebSocket
            if self._is_within_head():
                if self.cycle is not before or not fresh:
                    self.unread = 1
            elif not self.is_within_body():
                self.unread = 0
            if self.unread > self.head_limit:
                self.logger.warning("A request's head has over %d bytes (limits.headers).", self.head_limit)
                self.refuse(431)
                return

    def _is_within_head(self) -> bool:
        scope, cycle = self.scope, self.cycle
        return scope is not None and (cycle is None or cycle.scope is not scope)

    def is_within_body(self) -> bool:
        """Whether the head of a request was read, and its body not."""
        return super().is_within_body() and not self._is_within_head()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._stopped(error, data)

    def _stopped(self, why: Exception, data: bytes) -> None:
        """Go on after the parser has stopped in `data`."""
        if not isinstance(why, HttpParserUpgrade):
            self.logger.warning("Invalid HTTP request received.")
            self.refuse(400)
        elif self.is_old:
            self.handle_upgrade()  # type: ignore[attr-defined]
        elif self._should_upgrade():
            self.handle_websocket_upgrade()  # type: ignore[attr-defined]
        else:
            self._go_on(data[why.args[0] :])

    def _go_on(self, data: bytes) -> None:
        """Read on behind a request that asked to upgrade to something unknown, `data` being what follows.

        The parser thinks that its body belongs to another protocol, and would take it for the next request.
        """
        self._unsupported_upgrade_warning()  # type: ignore[attr-defined]
        framing = [b"%b: %b\r\n" % field for field in self.headers if field[0] in FRAMING]
        if framing and not self.cycle.response_complete:
            self.cycle.more_body = True
            self.cycle.message_event.clear()
            self.parser = _Continued(self).parser
            data = b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n", data])
        if data:
            self._feed(data)

    # What the parser calls

    def on_url(self, url: bytes) -> None:
        """Keep a target that is not a plain path: uvicorn has only the path of it, and fails without one."""
        before, self.url = self.url, self.url + url
        if self.url[0] != _SLASH or _HASH in url:
            self.scope[TARGET] = target = self.scope.get(TARGET, before) + url
            self.url = _NO_PATH.sub(rb"\g<0>/", target)

    def on_body(self, body: bytes) -> None:
        """Count anew."""
        self.unread = 0
        super().on_body(body)  # type: ignore[misc]

    def on_chunk_header(self) -> None:
        """Keep the trailers, which follow after the last one, out of the headers: RFC 9110, section 6.5.1."""
        self.headers = []


class _Continued:
    """Has a parser of its own for what follows a head that the protocol knows already."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._known = True
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete
        self.on_chunk_header = protocol.on_chunk_header
        self.parser = HttpRequestParser(self)

    def on_message_begin(self) -> None:
        if not self._known:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._known:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._known:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._known:
            self._protocol.on_headers_complete()
        self._known = False
