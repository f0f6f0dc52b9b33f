"""Uvicorn's own middleware around the application."""

from collections.abc import Awaitable, Callable
from typing import Any

App = Callable[[Any, Any, Any], Awaitable[None]]


async def stand_in(scope: Any, receive: Any, send: Any) -> None:
    """What uvicorn's Config is given in the application's place."""
    del scope, receive, send


def put_inside(config: Any, app: App) -> None:
    """Put `app` where the stand-in is: innermost in uvicorn's own middleware."""
    if config.loaded_app is stand_in:
        config.loaded_app = app
        return
    outer = config.loaded_app
    while outer.app is not stand_in:
        outer = outer.app
    outer.app = app
    if type(config.loaded_app).__name__ == "ProxyHeadersMiddleware":
        config.loaded_app = _behind_proxy(config.loaded_app)


def _behind_proxy(middleware: Any) -> App:
    """`middleware` for requests that passed through a proxy.

    It parses the address of every client, a tenth of the CPU time of a small request, to see whether it
    would trust headers that a request without a proxy does not even have.
    """
    app = middleware.app

    def call(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        for name, _ in scope["headers"]:
            if b"forwarded" in name:
                passed: Awaitable[None] = middleware(scope, receive, send)
                return passed
        direct: Awaitable[None] = app(scope, receive, send)
        return direct

    return call
