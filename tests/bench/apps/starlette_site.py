"""A small Starlette application."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def hello(request: Request) -> PlainTextResponse:
    """Answer."""
    del request
    return PlainTextResponse("hello, world\n")


asgi = Starlette(routes=[Route("/", hello)])
