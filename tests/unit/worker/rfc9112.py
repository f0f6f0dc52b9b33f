"""The requests that bytes hold, by RFC 9112: what a server may make of them at the most.

Where the RFC lets a recipient be lenient (a bare LF, a folded line, white space between the words of a
request line and around them) so is this; where it demands an error, or where two servers could disagree on
where a request ends, this stops. A server may refuse more, but must never see another request than these.

One that has no WebSockets may leave a wish for them aside (RFC 9110, section 7.8): then that is a request
like any other, and what follows is HTTP.
"""

import re
from dataclasses import dataclass, field

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_GAP = rb"[ \t\x0b\x0c\r]+"
_SPACE = rb"[ \t\x0b\x0c\r]*"
_LINE = re.compile(rb"%b(%b)%b([\x21-\x7e]+)%bHTTP/(1\.[01])%b" % (_SPACE, _TOKEN, _GAP, _GAP, _SPACE))
_FIELD = re.compile(rb"(%b):[ \t]*(.*?)[ \t]*" % _TOKEN, re.DOTALL)
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(;[^\n]*)?\r\n")
_ABSOLUTE = re.compile(rb"(?i:https?)://[^/?#@]+((?:[/?][^#]*)?)")


@dataclass(frozen=True)
class Request:
    """One whole request; `target` is a path with its query."""

    method: str
    target: str
    body: str


@dataclass
class Reading:
    """The whole requests, and how it ends: "open" for more, "closed" by the client's wish, or "broken"."""

    requests: list[Request] = field(default_factory=list)
    end: str = "open"


class Broken(Exception):
    """Bytes that no server may take for a request."""


class Incomplete(Exception):
    """More is to come."""


def read(data: bytes, *, websockets: bool = True) -> Reading:
    """All the requests in `data`, to a server that has WebSockets or has none."""
    reading, at = Reading(), 0
    try:
        while True:
            while data[at : at + 2] == b"\r\n" or data[at : at + 1] == b"\n":
                at += 1 if data[at : at + 1] == b"\n" else 2
            request, at, last = _request(data, at, websockets)
            reading.requests.append(request)
            if last:
                reading.end = "closed"
                return reading
    except Broken:
        reading.end = "broken"
    except Incomplete:
        pass
    return reading


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\n", at)
    if end < 0:
        raise Incomplete
    return data[at:end].removesuffix(b"\r"), end + 1


def _fields(data: bytes, at: int) -> tuple[list[tuple[bytes, bytes]], int]:
    lines: list[bytes] = []
    while True:
        line, at = _line(data, at)
        if not line:
            break
        if line[:1] in b" \t":
            if not lines:
                raise Broken
            lines[-1] = lines[-1].rstrip(b" \t") + b" " + line.strip(b" \t")
        else:
            lines.append(line)
    found = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None or re.search(rb"[\0\r\n]", match[2]):
            raise Broken
        found.append((match[1].lower(), match[2]))
    return found, at


def _request(data: bytes, at: int, websockets: bool) -> tuple[Request, int, bool]:
    line, at = _line(data, at)
    match = _LINE.fullmatch(line)
    if match is None:
        raise Broken
    fields, at = _fields(data, at)

    def values(name: bytes) -> list[bytes]:
        return [value for given, value in fields if given == name]

    method, version = match[1], match[3]
    hosts = values(b"host")
    if len(hosts) > 1 or (version == b"1.1" and not hosts) or not all(map(_HOST.fullmatch, hosts)):
        raise Broken
    lengths, codings = values(b"content-length"), values(b"transfer-encoding")
    body, at = _body(data, at, version, lengths, codings)
    options = b",".join(values(b"connection")).lower()
    upgrades = b"upgrade" in options and b"websocket" in b",".join(values(b"upgrade")).lower()
    if websockets and upgrades and method == b"GET" and not lengths and not codings:
        raise Broken  # what follows is not HTTP, and the application answers none of it
    request = Request(method.decode(), _target(method, match[2]).decode("latin-1"), body.decode("latin-1"))
    words = [word.strip() for word in options.split(b",")]
    return request, at, b"close" in words or (version == b"1.0" and b"keep-alive" not in words)


def _target(method: bytes, target: bytes) -> bytes:
    if b"#" in target.partition(b"?")[0] or method == b"CONNECT":
        raise Broken
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Broken
    return absolute[1] if absolute[1].startswith(b"/") else b"/" + absolute[1]


def _body(
    data: bytes, at: int, version: bytes, lengths: list[bytes], codings: list[bytes]
) -> tuple[bytes, int]:
    if codings:
        if lengths or version == b"1.0" or b",".join(codings).strip(b" \t").lower() != b"chunked":
            raise Broken
        return _chunks(data, at)
    if not lengths:
        return b"", at
    given = {part.strip(b" \t") for value in lengths for part in value.split(b",")}
    if len(given) > 1 or not re.fullmatch(rb"[0-9]+", length := given.pop()):
        raise Broken
    end = at + int(length)
    if end > len(data):
        raise Incomplete
    return data[at:end], end


def _chunks(data: bytes, at: int) -> tuple[bytes, int]:
    body = bytearray()
    while True:
        _, after = _line(data, at)
        match = _CHUNK.fullmatch(data[at:after])
        if match is None:
            raise Broken
        size = int(match[1], 16)
        if size == 0:
            _, end = _fields(data, after)
            return bytes(body), end
        if after + size + 2 > len(data):
            raise Incomplete
        body += data[after : after + size]
        at = after + size + 2
        if data[at - 2 : at] != b"\r\n":
            raise Broken
