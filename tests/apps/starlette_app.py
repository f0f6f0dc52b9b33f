"""A Starlette application with a lifespan whose state its requests see."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, str]]:
    """Give requests a state."""
    yield {"greeting": "hello from the lifespan"}


async def hello(request: Request) -> PlainTextResponse:
    """Answer with the state."""
    return PlainTextResponse(f"{request.state.greeting}\n")


app = Starlette(routes=[Route("/", hello)], lifespan=lifespan)
application = app
