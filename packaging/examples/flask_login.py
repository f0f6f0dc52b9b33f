"""Login sessions that any worker serves: a Flask application.

The browser has a random name in a cookie; what belongs to it is in the cache that all workers share. So the
next request may go to any of them, and a session outlives reloads and crashes. Needs lmdb in the interpreter.
"""

import copy
import os
import secrets
from hmac import compare_digest
from typing import Any

from flask import Flask, Request, Response, redirect, request, session
from flask.sessions import SessionInterface, SessionMixin
from flask.typing import ResponseReturnValue

from svc.cluster import blocking as cluster

LIFETIME = 3600  # seconds after the last request
COOKIE = "session"
USERS = {"ada": "engine", "grace": "compiler"}  # yours are in a database, with hashed passwords


class SharedSession(dict[str, Any], SessionMixin):
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


class SharedSessions(SessionInterface):
    """Keeps sessions in the cache. Flask asks it before and after each request."""

    def open_session(self, app: Flask, request: Request) -> SharedSession:  # noqa: ARG002
        name = request.cookies.get(COOKIE)
        data = cluster.cache.get(f"session:{name}") if name else None
        return SharedSession(name, data) if data is not None else SharedSession(None, {})

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002
        assert isinstance(session, SharedSession)
        if session.name is None:
            if not session:
                return  # nothing to remember: a flood of strangers cannot displace those who are logged in
            session.name = secrets.token_urlsafe(32)
            cluster.cache.set(f"session:{session.name}", dict(session), ttl=LIFETIME)
        else:
            self.keep(f"session:{session.name}", session)
        response.vary.add("Cookie")
        response.set_cookie(
            COOKIE, session.name, max_age=LIFETIME, httponly=True, samesite="Lax", secure=request.is_secure
        )

    def keep(self, key: str, session: SharedSession) -> None:
        """Store what has changed, else only begin its life anew. Never bring a session back that another
        request has ended meanwhile.
        """
        if dict(session) == session.before:
            cluster.cache.cas(key, session.before, session.before, ttl=LIFETIME)
            return
        while (stored := cluster.cache.get(key)) is not None:
            if cluster.cache.cas(key, stored, dict(session), ttl=LIFETIME):
                return


app = Flask(__name__)
app.session_interface = SharedSessions()


@app.post("/login")
def login() -> ResponseReturnValue:
    """Log in with the form's name and password."""
    name, password = request.form.get("name", ""), request.form.get("password", "")
    if not compare_digest(USERS.get(name, "").encode(), password.encode()) or not password:
        return "wrong name or password\n", 403
    session.restart()  # type: ignore[attr-defined]
    session["user"] = name
    return redirect("/", 303)


@app.post("/logout")
def logout() -> ResponseReturnValue:
    """Log out, in all workers at once."""
    session.restart()  # type: ignore[attr-defined]
    return redirect("/", 303)


@app.get("/")
def who() -> ResponseReturnValue:
    """Say who is logged in, and which worker knows."""
    worker = f"worker {cluster.worker.slot}, process {os.getpid()}"
    if "user" not in session:
        return f"nobody, says {worker}\n", 401
    return f"{session['user']}, says {worker}\n", 200
