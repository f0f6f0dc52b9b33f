"""What `listen` may hold: "host:port", "[v6]:port" and "unix:/path" → `Listen`."""

import posixpath
import socket

from svc.app import Family, Listen
from svc.config.problems import show
from svc.config.values import Fault, Invalid, path, string

LONGEST_UNIX_PATH = 107
"""Bytes of a unix socket's path: sun_path has 108, the last is NUL. See unix(7)."""


def packed(family: Family, host: str) -> bytes | None:
    """Return the bytes of an IP literal, or None when it is none."""
    try:
        return socket.inet_pton(socket.AF_INET6 if family is Family.INET6 else socket.AF_INET, host)
    except (OSError, UnicodeError, ValueError):
        return None


def _unix(text: str) -> Listen:
    name = path(text.removeprefix("unix:"))
    if len(name.encode()) > LONGEST_UNIX_PATH:
        raise Invalid(
            f"{show(text)}: the path is longer than {LONGEST_UNIX_PATH} bytes",
            "choose a shorter one, under /run",
        )
    if name != (clean := "/" + posixpath.normpath(name).lstrip("/")) or name == "/":
        raise Invalid(f"{show(text)} is not the plain path of a file", f'write it as "unix:{clean}"')
    return Listen(Family.UNIX, path=name)


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise Invalid(
            f"{show(text)} does not end in a port", "write a port from 1 to 65535 after the last colon"
        )
    return int(port)


def _nowhere(shown: str, port: int) -> Invalid:
    return Invalid(
        f"{shown} does not say on which address",
        f'write "0.0.0.0:{port}" (every address) or "127.0.0.1:{port}" (this host only)',
    )


def _ip(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = ("", text) if text.isdigit() else (text, "")
    bare = host.removeprefix("[").removesuffix("]")
    # An IPv6 address without its port (or brackets) must not be cut at its last colon.
    if packed(Family.INET6, text):
        # "::1:80" is an address as it stands; who writes it means this.
        meant = f'"[{host}]:{port}"' if packed(Family.INET6, host) and port.isdigit() else f'"[{text}]:8000"'
        raise Invalid(f"{show(text)} is an IPv6 address without brackets and port", f"write {meant}")
    if text.startswith("[") and text.endswith("]") and packed(Family.INET6, text[1:-1]):
        raise Invalid(f"{show(text)} has no port", f'write "{text}:8000"')
    if packed(Family.INET, host) and not port:
        raise Invalid(f"{show(text)} has no port", f'write "{host}:8000"')
    number = _port(text, port)
    if not host or host == "*":
        raise _nowhere(show(text), number)
    if host == "localhost":
        raise Invalid(
            f"{show(text)} is a name, which may stand for several addresses",
            f'write "127.0.0.1:{number}" or "[::1]:{number}"',
        )
    if address := packed(Family.INET, host):
        return Listen(Family.INET, socket.inet_ntop(socket.AF_INET, address), number)
    if not (address := packed(Family.INET6, bare)):
        raise Invalid(
            f"{show(host)} is not an IP address", f'write an address: "0.0.0.0:{number}", "[::]:{number}"'
        )
    if host != f"[{bare}]":
        raise Invalid(f"{show(text)}: an IPv6 address wants brackets", f'write "[{bare}]:{number}"')
    return Listen(Family.INET6, socket.inet_ntop(socket.AF_INET6, address), number)


def address(value: object) -> Listen:
    """Return one address. The host is brought to its usual spelling: "[0:0::1]" is "::1"."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise _nowhere(show(value), value if 1 <= value <= 65535 else 8000)
    text = string(value)
    if "://" in text:
        raise Invalid(f"{show(text)} is a URL", 'write only address and port: "0.0.0.0:8000"')
    if text.startswith("unix:"):
        return _unix(text)
    if text.startswith(("/", "@")):
        raise Invalid(f"{show(text)} is not an address and port", 'write "unix:/run/…" for a unix socket')
    return _ip(text)


def listen(value: object) -> tuple[Listen, ...]:
    """Return all addresses, at least one, none twice. One string stands for a list of one."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise Invalid("the list is empty", 'write at least one address: ["0.0.0.0:8000"]')
    found: list[Listen] = []
    faults: list[Fault] = []
    for item in items:
        try:
            one = address(item)
            if one in found:
                raise Invalid(f"{show(str(one))} is there twice", "remove one")
            found.append(one)
        except Invalid as error:
            faults.extend(error.faults)
    if faults:
        raise Invalid(faults[0].what, faults[0].cure, tuple(faults[1:]))
    return tuple(found)
