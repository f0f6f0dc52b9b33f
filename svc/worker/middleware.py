"""Uvicorn's own middleware around the application."""

import contextlib
import copy
from collections.abc import Awaitable, Callable
from typing import Any

Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Proxied = Callable[[Any], None]


async def stand_in(scope: Any, receive: Any, send: Any) -> None:
    """What uvicorn's Config is given in the application's place."""
    del scope, receive, send


def put_inside(config: Any, app: Asgi) -> Proxied | None:
    """Put `app` where the stand-in is: innermost in uvicorn's own middleware.

    Returns what that middleware does to the scope of a request that passed through a proxy; None when it
    does more than that.
    """
    if config.loaded_app is stand_in:
        config.loaded_app = app
        return None
    outer = config.loaded_app
    while outer.app is not stand_in:
        outer = outer.app
    outer.app = app
    proxy = config.loaded_app
    if type(proxy).__name__ != "ProxyHeadersMiddleware":
        return None
    config.loaded_app = _behind_proxy(proxy)
    return _proxied(proxy) if proxy.app is app else None


def _proxied(middleware: Any) -> Proxied:
    alone = copy.copy(middleware)
    alone.app = stand_in

    def proxied(scope: Any) -> None:
        with contextlib.suppress(StopIteration):  # it waits for nothing
            alone(scope, None, None).send(None)

    return proxied


def _behind_proxy(middleware: Any) -> Asgi:
    """`middleware` for requests that passed through a proxy.

    It parses the address of every client, a tenth of the CPU time of a small request, to see whether it
    would trust headers that a request without a proxy does not even have.
    """
    app = middleware.app

    def call(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        running: Awaitable[None] = (middleware if is_proxied(scope) else app)(scope, receive, send)
        return running

    return call


def is_proxied(scope: Any) -> bool:
    """Whether a request has headers that a proxy adds."""
    for name, _ in scope["headers"]:  # noqa: SIM110 - a generator costs more than the loop
        if b"forwarded" in name:
            return True
    return False
