"""`[cluster] url`: where the server is that several hosts share. Never its password: all can read units."""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from svc.config.problems import show
from svc.config.values import Invalid, path, string

_CURE = 'write "redis://HOST", "redis://HOST:PORT/DB", "rediss://HOST" (TLS) or "unix:///PATH"'
_NO_PASSWORD = 'remove it, and name a file that holds it: [credentials] cluster-password = "/PATH"'
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""What a query may say of rediss://, each a file."""


def server_url(value: object) -> str:
    """Return the URL as redis-py takes it. Raises Invalid, without the value where that holds a password."""
    text = string(value)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # It may be a password that is not quoted which makes it wrong.
        raise Invalid("it is no URL", _CURE) from None
    shown = "it" if "@" in text else show(text)  # what is before an @ may be a password that is not quoted
    query = parse_qsl(parts.query, keep_blank_values=True)
    if parts.password is not None or any(name == "password" for name, _ in query):
        raise Invalid("it holds a password, and every user of the host can read a unit", _NO_PASSWORD)
    if re.search(r"\s|#", text) or parts.scheme not in {"redis", "rediss", "unix"} or port == 0:
        raise Invalid(f"{shown} is no server", _CURE)
    if parts.scheme == "unix":
        if parts.netloc.rpartition("@")[2] or not parts.path.startswith("/"):
            raise Invalid(f"{shown} has a relative path", 'write "unix:///PATH", with three slashes')
        path(unquote(parts.path))
    elif not parts.hostname or not re.fullmatch(r"(/[0-9]*)?", parts.path):
        raise Invalid(f"{shown} is no server", _CURE)
    for name, said in query:
        _option(parts.scheme, name, said)
    return text


def _option(scheme: str, name: str, said: str) -> None:
    if name == "db" and re.fullmatch("[0-9]+", said):
        return
    if scheme == "rediss" and name in _TLS:
        path(said)
        return
    allowed = ", ".join(["db", *(_TLS if scheme == "rediss" else ())])
    raise Invalid(
        f"?{show(name)} is nothing that {scheme}:// takes here", f"write only {allowed}, or remove it"
    )
