"""Login sessions that any worker serves: a Starlette application (FastAPI is one too).

The browser has a random name in a cookie; what belongs to it is in the cache that all workers share. So the
next request may go to any of them, and a session outlives reloads and crashes. Needs lmdb in the interpreter.
"""

import copy
import os
import secrets
from hmac import compare_digest
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from svc import cluster

LIFETIME = 3600  # seconds after the last request
COOKIE = "session"
USERS = {"ada": "engine", "grace": "compiler"}  # yours are in a database, with hashed passwords


class SharedSession(dict[str, Any]):
    """What belongs to one browser. `name` is None as long as there is nothing to remember."""

    def __init__(self, name: str | None, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.name = name
        self.before = copy.deepcopy(data)

    def restart(self) -> None:
        """Forget all of it, the name included: who knew that (before a login, say) has nothing any more."""
        if self.name is not None:
            cluster.cache.delete(f"session:{self.name}")
        self.name = None
        self.clear()

    def save(self) -> str | None:
        """Store it, or begin its life anew; return its name. Never bring a session back that another request
        has ended meanwhile.
        """
        data = dict(self)
        if self.name is None:
            if not self:
                return None  # a flood of strangers cannot displace those who are logged in
            self.name = secrets.token_urlsafe(32)
            cluster.cache.set(f"session:{self.name}", data, ttl=LIFETIME)
            return self.name
        key = f"session:{self.name}"
        if data == self.before:
            cluster.cache.cas(key, data, data, ttl=LIFETIME)
            return self.name
        while (stored := cluster.cache.get(key)) is not None:
            if cluster.cache.cas(key, stored, data, ttl=LIFETIME):
                break
        return self.name


class SharedSessions:
    """ASGI middleware: `request.session` is in the cache."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Load the session before the application runs, store it before its answer begins."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        name = connection.cookies.get(COOKIE)
        data = cluster.cache.get(f"session:{name}") if name else None
        session = SharedSession(name, data) if data is not None else SharedSession(None, {})
        scope["session"] = session

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and (kept := session.save()):
                cookie = SimpleCookie({COOKIE: kept})[COOKIE]
                cookie.update({"path": "/", "max-age": str(LIFETIME), "samesite": "Lax"})
                flags = "; HttpOnly" + ("; Secure" if connection.url.scheme in ("https", "wss") else "")
                headers = MutableHeaders(scope=message)
                headers.append("Set-Cookie", cookie.OutputString() + flags)
                headers.add_vary_header("Cookie")
            await send(message)

        await self.app(scope, receive, answer)


async def login(request: Request) -> Response:
    """Log in with the form's name and password."""
    form = parse_qs((await request.body()).decode())
    name, password = form.get("name", [""])[0], form.get("password", [""])[0]
    if not compare_digest(USERS.get(name, "").encode(), password.encode()) or not password:
        return PlainTextResponse("wrong name or password\n", 403)
    request.session.restart()  # type: ignore[attr-defined]
    request.session["user"] = name
    return RedirectResponse("/", 303)


async def logout(request: Request) -> Response:
    """Log out, in all workers at once."""
    request.session.restart()  # type: ignore[attr-defined]
    return RedirectResponse("/", 303)


async def who(request: Request) -> Response:
    """Say who is logged in, and which worker knows."""
    worker = f"worker {cluster.worker.slot}, process {os.getpid()}"
    if "user" not in request.session:
        return PlainTextResponse(f"nobody, says {worker}\n", 401)
    return PlainTextResponse(f"{request.session['user']}, says {worker}\n")


app = Starlette(
    routes=[
        Route("/", who),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ],
    middleware=[Middleware(SharedSessions)],
)
