"""Workers that replace themselves at a limit: one at a time, never during a rollout, and no request fails."""

import re
import threading
from collections.abc import Iterator

import pytest

from tests.client import load
from tests.system import replaced, versions
from tests.system.conftest import THINK, App
from tests.system.replaced import DRAINS, EVER, NO_RESTART, Change, changes, check, most_away, wait_replaced

RELEASE = f"{versions.FOLDER}/release"  # what ends a request of /hold

ASGI = """
import asyncio, os
from pathlib import Path

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await asyncio.sleep(0.3)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while scope["path"] == "/hold" and not Path("RELEASE").exists():
        await asyncio.sleep(0.05)
    body = b"worker " + os.environ["SVC_SLOT"].encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
""".replace("RELEASE", RELEASE)

WSGI = """
import os, time

time.sleep(0.3)

def app(environ, start_response):
    body = b"worker " + os.environ["SVC_SLOT"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

APPLICATIONS = {"asgi": ASGI, "wsgi": WSGI}


@pytest.fixture(params=APPLICATIONS)
def interface(request: pytest.FixtureRequest) -> str:
    """ASGI and WSGI."""
    return str(request.param)


@pytest.fixture
def watched(app: App) -> Iterator[App]:
    """An app, in a machine whose systemd logs each change of a unit."""
    with replaced.watched(app):
        yield app


def start(app: App, interface: str, workers: int, more: str) -> str:
    """Start the app, and return the journal's cursor from then: all workers are ready."""
    app.deploy(APPLICATIONS[interface])
    app.start(workers=workers, more=more)
    return app.machine.cursor()


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh", "keep-alive"])
@pytest.mark.parametrize("workers", [1, 3])
def test_requests(watched: App, interface: str, workers: int, keep_alive: bool) -> None:
    since = start(watched, interface, workers, f"[limits]\nrequests = 300\n{NO_RESTART}")
    with load(watched.url, connections=20, keep_alive=keep_alive, think=THINK) as clients:
        wait_replaced(watched, workers, since)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    check(watched, workers, since)
    said = re.findall(
        r"limits\.requests: (\d+) answered; draining, to be replaced", watched.machine.journal()
    )
    assert min(map(int, said)) >= 270


def test_lifetime(watched: App, interface: str) -> None:
    since = start(watched, interface, 3, f'[limits]\nlifetime = "2s"\n{NO_RESTART}')
    with load(watched.url, connections=20, keep_alive=True, think=THINK) as clients:
        wait_replaced(watched, 3, since)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    check(watched, 3, since)


def test_a_limit_below_the_size_of_a_fresh_worker_replaces_nobody(app: App) -> None:
    since = start(app, "asgi", 1, '[limits]\nmemory = "16M"\n')
    app.machine.wait_journal(r"limits\.memory = 16 MiB is ignored, because", "app@0.service")
    before = app.pids()
    with load(app.url, connections=5) as clients:
        clients.wait(500)
    assert app.pids() == before
    assert "to be replaced" not in app.machine.journal(since=since)


@pytest.mark.parametrize("surge", [0, 1])
def test_none_replaces_itself_during_a_rollout(watched: App, interface: str, surge: int) -> None:
    since = start(watched, interface, 3, f"[limits]\nrequests = 20\n[reload]\nsurge = {surge}\n{NO_RESTART}")
    with load(watched.url, connections=20, keep_alive=True, think=THINK) as clients:
        for _ in range(3):
            watched.machine.wait_journal(DRAINS, since=watched.machine.cursor(), timeout=EVER)
            assert watched.systemctl("reload", "app.target").returncode == 0
        wait_replaced(watched, 3, watched.machine.cursor(), rounds=1)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    for rollout in rollouts(changes(watched, since)):
        # Each of the slots was restarted by the rollout. What it had to wait for was over before the first,
        # and after the last the coordinator needs a moment to end.
        ends = [at for at, change in enumerate(rollout) if change.now == "0"]
        assert len(ends) == 3 + surge
        assert most_away(rollout) == 1
        assert replaced.slots(rollout[ends[0] : ends[-1]]) == []


def rollouts(seen: list[Change]) -> list[list[Change]]:
    """What happened during each reload of the coordinator."""
    bounds = [(at, change.now) for at, change in enumerate(seen) if change.unit == "app.service"]
    begins = [at for at, state in bounds if state == "reload"]
    ends = [at for at, state in bounds if state == "exited"]
    assert len(begins) == len(ends) == 3
    return [seen[begin:end] for begin, end in zip(begins, ends, strict=True)]


class Held:
    """A request of /hold: the worker that has it drains until it is released."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.answer = ""
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Held":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._thread.join()

    def _ask(self) -> None:
        self.answer = self.app.get("/hold")

    def release(self) -> str:
        """Let it be answered, and return the answer."""
        self.app.machine.write(RELEASE, "")
        self._thread.join()
        return self.answer


def slot_away(app: App, since: str) -> int:
    """Wait until a worker drains, and return its slot."""
    return int(app.machine.wait_journal(DRAINS, since=since, timeout=EVER)[1])


def test_a_rollout_waits_for_the_worker_that_replaces_itself(watched: App) -> None:
    since = start(watched, "asgi", 1, '[limits]\nlifetime = "2s"\n')
    with Held(watched) as held:
        assert slot_away(watched, since) == 0
        reload = watched.machine.popen("systemctl", "reload", "app.target")
        watched.machine.wait_journal("replaces itself: waiting until it is back", since=since)
        assert watched.show("app@surge.service", "ActiveState") == "inactive"
        assert held.release() == "worker 0"
        assert reload.wait(EVER) == 0
    units = ("app@0.service", "app@surge.service")
    order = [(change.unit, change.now) for change in changes(watched, since) if change.unit in units]
    back = order.index(("app@0.service", "running"))
    assert order.index(("app@0.service", "75")) < back
    assert back < order.index(("app@surge.service", "start"))


def test_a_worker_that_is_stopped_while_it_replaces_itself_stays_stopped(watched: App) -> None:
    since = start(watched, "asgi", 1, '[limits]\nlifetime = "2s"\n')
    turn = ("flock", "--nonblock", "/run/svc/app", "true")
    with Held(watched) as held:
        assert slot_away(watched, since) == 0
        assert watched.machine.run(*turn, check=False).returncode == 1
        watched.systemctl("stop", "--no-block", "app@0.service")
        watched.machine.wait_journal("app@0.service: Installed new job app@0.service/stop", since=since)
        assert held.release() == "worker 0"
    watched.machine.wait_until("app@0.service", "ActiveState", lambda state: state == "inactive")
    shown = watched.machine.show("app@0.service", "Result", "Job", "SubState", "NFileDescriptorStore")
    assert shown == {"Result": "success", "Job": "", "SubState": "dead", "NFileDescriptorStore": "0"}
    assert watched.machine.run(*turn, check=False).returncode == 0


def test_a_version_that_cannot_start_takes_one_worker_away_and_a_reload_mends_it(watched: App) -> None:
    since = start(watched, "asgi", 3, '[limits]\nlifetime = "2s"\n')
    with load(watched.url, connections=20, keep_alive=True, think=THINK) as clients:
        watched.deploy(versions.BROKEN["fails in start-up"])
        broken = watched.machine.wait_journal(
            r"(app@\d\.service): Changed \S+ -> failed|(app@\d\.service): Main process exited, .*status=1/",
            since=since,
            timeout=EVER,
        )
        unit = broken[1] or broken[2]
        watched.machine.wait_until(unit, "NRestarts", lambda restarts: int(restarts) >= 3, EVER)
        assert replaced.slots(changes(watched, since))[-1] == unit
        away = watched.machine.cursor()
        watched.machine.wait_until(unit, "NRestarts", lambda restarts: int(restarts) >= 5, EVER)
        assert replaced.slots(changes(watched, away)) == []
        assert len(watched.pids()) == 2
        # A rollout does not wait for it: this one fails by itself.
        assert watched.systemctl("reload", "app.target", check=False).returncode != 0
        said = watched.machine.journal(since=since)
        assert "nothing has changed: the new version did not become ready" in said
        assert "waiting until it is back" not in said
        assert most_away(changes(watched, since)) == 1
        watched.deploy(ASGI)
        assert watched.systemctl("reload", "app.target").returncode == 0
        wait_replaced(watched, 3, watched.machine.cursor(), rounds=1)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
