"""No client notices what happens to the workers, be it one that everybody uses or a strange one."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.conftest import App
from tests.system.known_clients import LIBRARIES, TOOLS, websocket
from tests.system.strange_clients import STRANGE, Connection, request
from tests.system.visitors import Site, Visits, visiting

APPS = Path(__file__).parent.parent / "apps"
HIDDEN = "/srv/hidden"
ACTIONS = (
    ("reload", "app.target"),
    ("restart", "app@1.service"),
    ("stop", "app@1.service"),
    ("start", "app@1.service"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """An application, and the event loop that serves it."""

    file: str
    loop: str

    @property
    def websockets(self) -> dict[str, Visits]:
        """The WebSocket client, where the application has WebSockets."""
        return {"websocket": websocket} if self.file == "asgi_app.py" else {}


KINDS = {
    "asgi": Kind("asgi_app.py", "uvloop"),
    "asgi on asyncio": Kind("asgi_app.py", "asyncio"),
    "wsgi": Kind("wsgi_app.py", "uvloop"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind in turn."""
    return KINDS[request.param]


@pytest.fixture
def site(app: App, kind: Kind) -> Site:
    """The app `app`, with three workers of this kind."""
    app.deploy((APPS / kind.file).read_text())
    more = ""
    if kind.loop != "uvloop":
        app.machine.write(f"{HIDDEN}/uvloop.py", "raise ModuleNotFoundError(name='uvloop')\n")
        more = f'[env]\nPYTHONPATH = "{HIDDEN}"\n'
    app.start(workers=3, more=more)
    assert f"with {kind.loop} and" in app.machine.journal("app@0.service")
    return Site(app.port)


def do_everything(app: App, site: Site, kinds: Mapping[str, Visits]) -> None:
    """Let clients of these kinds visit before, during and after each action."""
    cursor = app.machine.cursor()
    with visiting(site, kinds) as visitors:
        for action in ACTIONS:
            app.systemctl(*action)
            visitors.wait()
    journal = app.machine.journal("app@*.service", cursor)
    assert "Traceback" not in journal, journal
    assert "cut off" not in journal, journal
    assert len(app.pids()) == 3


@pytest.mark.parametrize("kind", ["asgi", "wsgi"], indirect=True)
def test_tools(app: App, kind: Kind, site: Site) -> None:
    del kind
    do_everything(app, site, TOOLS)


def test_libraries(app: App, kind: Kind, site: Site) -> None:
    do_everything(app, site, {**LIBRARIES, **kind.websockets})


def test_strange_clients(app: App, kind: Kind, site: Site) -> None:
    del kind
    with ExitStack() as stack:
        idle = [stack.enter_context(Connection(site)) for _ in range(500)]
        for client in idle:
            client.send(request(10))
            client.expect(10)
        do_everything(app, site, STRANGE)
        for client in idle:
            client.send(request(10))
            client.expect(10)
