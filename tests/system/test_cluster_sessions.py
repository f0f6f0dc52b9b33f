"""The examples of login sessions: any worker serves them, through reloads and crashes."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.client import load
from tests.machine import Machine
from tests.ports import free_port
from tests.system.conftest import App

EXAMPLES = Path(__file__).parents[2] / "packaging" / "examples"
WORKERS = 3


@pytest.fixture(params=["flask_login", "starlette_login"])
def app(request: pytest.FixtureRequest, machine: Machine) -> App:
    """One of the examples, with three workers, and nobody logged in."""
    machine.run("rm", "-rf", "/run/private/svc/app/cache", "/run/svc/app/cache")
    made = App(machine, free_port())
    made.deploy((EXAMPLES / f"{request.param}.py").read_text())
    made.start(workers=WORKERS)
    return made


@contextmanager
def asked(
    app: App, method: str, path: str, cookie: str = "", **form: str
) -> Iterator[http.client.HTTPResponse]:
    """One request, as a browser sends it, and its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} | ({"Cookie": cookie} if cookie else {})
    try:
        connection.request(method, path, urlencode(form), headers)
        yield connection.getresponse()
    finally:
        connection.close()


def log_in(app: App, cookie: str = "", name: str = "ada", password: str = "engine") -> str:
    """Log in, and return the cookie."""
    with asked(app, "POST", "/login", cookie, name=name, password=password) as answer:
        assert answer.status == 303
        set_cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=3600"} <= set(set_cookie.split("; "))
    return set_cookie.partition(";")[0]


def seen_by_all(app: App, cookie: str) -> set[str]:
    """Who all workers say is logged in."""
    seen: dict[str, str] = {}
    for _ in range(100):
        with asked(app, "GET", "/", cookie) as answer:
            user, _, worker = answer.read().decode().partition(", says ")
            assert answer.status == (401 if user == "nobody" else 200)
        seen[worker.split(",")[0]] = user
        if len(seen) == WORKERS:
            return set(seen.values())
    raise AssertionError(f"only {seen} had their turn")


def test_any_worker_serves_a_login_through_reloads_and_a_crash(app: App) -> None:
    cookie = log_in(app)
    assert seen_by_all(app, cookie) == {"ada"}
    headers = {"Cookie": cookie}
    with load(f"{app.url}/", connections=8, headers=headers, keep_alive=False, keep_bodies=True) as clients:
        for _ in range(2):
            clients.wait(200)
            app.systemctl("reload", "app.target")
        clients.wait(200)
        reloaded = clients.stop()
    assert reloaded.failed == 0, reloaded.table()
    assert {body.split(b",")[0] for body in reloaded.bodies} == {b"ada"}
    app.systemctl("kill", "--signal=KILL", "app@*.service")
    for slot in range(WORKERS):
        app.machine.wait_until(f"app@{slot}.service", "NRestarts", lambda count: count not in ("", "0"))
        app.machine.wait_until(f"app@{slot}.service", "ActiveState", lambda state: state == "active")
    assert seen_by_all(app, cookie) == {"ada"}


def test_who_logs_out_is_logged_out_everywhere(app: App) -> None:
    first, second = log_in(app), log_in(app, name="grace", password="compiler")
    with asked(app, "POST", "/logout", first) as answer:
        assert answer.status == 303
        assert answer.headers["Set-Cookie"] is None
    assert seen_by_all(app, first) == {"nobody"}
    assert seen_by_all(app, second) == {"grace"}


def test_a_login_has_a_name_that_nobody_knew_before(app: App) -> None:
    first = log_in(app)
    second = log_in(app, first, "grace", "compiler")
    assert second != first
    assert seen_by_all(app, first) == {"nobody"}
    assert seen_by_all(app, second) == {"grace"}
    assert seen_by_all(app, "session=made-up") == {"nobody"}
    with asked(app, "POST", "/login", name="ada", password="compiler") as answer:
        assert answer.status == 403
        assert answer.headers["Set-Cookie"] is None
    with asked(app, "POST", "/login", name="nobody", password="") as answer:
        assert answer.status == 403
