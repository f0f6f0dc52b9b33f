"""Why there is no connection to the server, and what helps: of TLS, the library only has OpenSSL's words."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import redis

_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH


def why(error: BaseException, url: str) -> str:
    """What to say of the server at `url` after `error`: the rest of a sentence."""
    for one in _chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"is refused: its certificate {_untrusted(one)}"
        if isinstance(one, redis.AuthenticationError):
            return f"lets nobody in: {one} (its password is the credential cluster-password, [credentials])"
    unread = "; ".join(_unread(url))
    return f"cannot be asked: {unread}" if unread else f"does not answer: {error}"


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OTHER_NAME:
        return f"is of another host ({error.verify_message}): write a name that it has into the url"
    return (
        f"is not trusted ({error.verify_message}): when its authority is your own, "
        "name the file that has the authority's certificate, ?ssl_ca_certs=/PATH"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unread(url: str) -> Iterator[str]:
    """The files of the url that this process cannot read: the library does not say which."""
    for name, path in parse_qsl(urlsplit(url).query):
        if name.startswith("ssl_"):
            try:
                with Path(path).open("rb"):
                    pass
            except OSError as error:
                yield f"{name}={path}: {error.strerror}; the user of the workers must be able to read it"
