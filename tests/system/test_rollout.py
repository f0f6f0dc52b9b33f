"""`systemctl reload`: what it promises, judged by clients that record every request."""

import socket
from collections.abc import Iterator

import pytest

from svc.rollout.plan import surge_units
from tests.client import get, load
from tests.machine import Machine
from tests.system import versions
from tests.system.conftest import THINK, App


def test_a_reload_replaces_all_workers(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=4)
    before = app.pids()
    app.deploy(versions.good("2"))
    assert app.systemctl("reload", "app.target").returncode == 0
    after = app.pids()
    assert len(after) == 4
    assert not set(before) & set(after)
    assert "version 2" in app.get("/")
    assert app.show("app@surge.service", "ActiveState") == "inactive"


def test_the_coordinator_reloads_too(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    before = app.pids()
    assert app.systemctl("reload", "app").returncode == 0
    assert not set(before) & set(app.pids())


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh", "keep-alive"])
def test_no_request_fails_on_a_reload(app: App, keep_alive: bool) -> None:
    app.deploy(versions.good("1", startup_seconds=0.3))
    app.start(workers=4)
    app.reload_twice(500, keep_alive=keep_alive)


def test_only_a_version_that_no_rollout_has_proven_is_asked_the_canary(app: App) -> None:
    app.deploy(versions.good("1", health=500))
    app.start(workers=2, more='[reload]\ncanary = "/healthz"\n')
    app.deploy(versions.good("2"))
    assert app.systemctl("reload", "app.target").returncode == 0
    # Now what the canary asks for breaks: a worker that is restarted must come back all the same.
    app.deploy(versions.good("2", health=500))
    app.systemctl("restart", "app@1.service")
    assert len(app.pids()) == 2
    # A version that no rollout has brought to its end is kept out, also when a crash lets it in.
    assert app.systemctl("reload", "app.target", check=False).returncode != 0
    assert app.systemctl("restart", "app@1.service", check=False).returncode != 0
    assert app.get("/")


def test_a_changed_app_file_is_picked_up(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    with load(app.url, connections=20, keep_alive=False, think=THINK) as clients:
        app.configure(workers=4)
        assert app.systemctl("reload", "app.target").returncode == 0
        assert len(app.pids()) == 4
        app.configure(workers=1)
        assert app.systemctl("reload", "app.target").returncode == 0
        assert len(app.pids()) == 1
        app.drop_in("10-env", '[env]\nGREETING = "hello"\n')
        assert app.systemctl("reload", "app.target").returncode == 0
    assert "GREETING=hello" in app.show("app@0.service", "Environment")
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_a_new_address_is_open_before_the_old_one_closes(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    new = app.free_port()
    with load(app.url, connections=10, keep_alive=False, think=THINK) as clients:
        # Both: a new one beside the old one, from before any worker was replaced.
        app.drop_in("10-two", f'listen = ["127.0.0.1:{app.port}", "127.0.0.1:{new}"]\n')
        assert app.systemctl("reload", "app.target").returncode == 0
        with load(f"http://127.0.0.1:{new}", connections=10, keep_alive=False) as others:
            app.deploy(versions.good("2"))
            assert app.systemctl("reload", "app.target").returncode == 0
            # Whoever makes the units anew meanwhile closes nothing.
            app.systemctl("daemon-reload")
            seen = clients.stop()
            assert seen.failed == 0, seen.table()
            # Then the old one goes.
            app.drop_in("10-two", f'listen = "127.0.0.1:{new}"\n')
            assert app.systemctl("reload", "app.target").returncode == 0
            assert refused(app.url)
            app.systemctl("daemon-reload")
            assert app.systemctl("reload", "app.target").returncode == 0
        seen = others.stop()
        assert seen.failed == 0, seen.table()
    # And after a restart nobody can tell that it was ever there.
    app.systemctl("stop", "app.target")
    app.machine.wait_until(f"app@127.0.0.1-{new}.socket", "ActiveState", lambda state: state == "inactive")
    assert refused(f"http://127.0.0.1:{new}")
    app.systemctl("daemon-reload")
    app.systemctl("start", "app.target")
    assert "version 2" in app.get("/", port=new)
    assert refused(app.url)
    assert app.show("app.socket", "Listen") == f"127.0.0.1:{new} (Stream)"


def test_a_new_address_in_place_of_the_old_one(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    new = app.free_port()
    app.configure(workers=3, port=new)
    app.systemctl("daemon-reload")
    # Nothing has changed yet, also for a worker that starts again.
    app.systemctl("restart", "app@1.service")
    with load(app.url, connections=10, keep_alive=False, think=THINK) as clients:
        app.deploy(versions.BROKEN["fails in start-up"])
        assert app.systemctl("reload", "app.target", check=False).returncode != 0
        seen = clients.stop()
        assert seen.failed == 0, seen.table()
    app.deploy(versions.good("2", startup_seconds=0.3))
    reload = app.machine.popen("systemctl", "reload", "app.target")
    app.machine.wait_until("app@surge.service", "ActiveState", lambda state: state == "active")
    with load(f"http://127.0.0.1:{new}", connections=10, keep_alive=True) as clients:
        assert reload.wait() == 0
        assert refused(app.url)
        assert app.systemctl("restart", "app.target").returncode == 0
        seen = clients.stop()
        assert seen.failed == 0, seen.table()
    assert len(app.pids()) == 3


def test_a_failed_rollout_closes_the_new_address_where_nobody_would_accept(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=1)
    new = app.free_port()
    app.configure(workers=1, port=new)
    app.deploy(versions.BROKEN["fails in start-up"])
    assert app.systemctl("reload", "app.target", check=False).returncode != 0
    assert refused(f"http://127.0.0.1:{new}")
    assert "version 1" in app.get("/")
    app.deploy(versions.good("2"))
    assert app.systemctl("reload", "app.target").returncode == 0
    assert "version 2" in app.get("/", port=new)


def test_an_address_that_somebody_else_has_changes_nothing(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    before = app.pids()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app.configure(workers=2, port=taken.getsockname()[1])
        assert app.systemctl("reload", "app.target", check=False).returncode != 0
        assert "nothing has changed: a new listener cannot be opened" in app.last_failure()
        assert "Address already in use" in app.last_failure()
        assert app.pids() == before
        assert app.get("/")
    app.configure(workers=2)
    assert app.systemctl("reload", "app.target").returncode == 0
    assert app.get("/")


@pytest.mark.parametrize("how", ["broken", "masked"])
def test_an_app_file_that_breaks_while_the_app_runs_takes_nothing_away(app: App, how: str) -> None:
    app.deploy(versions.good("1", startup_seconds=1))
    app.start(workers=2)
    with load(app.url, connections=10, keep_alive=True, think=THINK) as clients:
        app.machine.write("/etc/svc/app.toml", "app = 3\n" if how == "broken" else "")
        app.systemctl("daemon-reload")
        assert app.show("app.socket", "ActiveState") == "active"
        app.systemctl("restart", "app@1.service")
        app.systemctl("daemon-reload")
        # And somebody else reads all units anew while it has stopped and not started yet.
        restart = app.machine.popen("systemctl", "restart", "app.target")
        app.machine.wait_until("app@0.service", "ActiveState", lambda state: state == "activating")
        app.systemctl("daemon-reload")
        assert restart.wait() == 0
        assert len(app.pids()) == 2
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    # When it is stopped it is gone, as its file is.
    app.systemctl("stop", "app.target")
    app.machine.wait_until("app.service", "ActiveState", lambda state: state == "inactive")
    app.systemctl("daemon-reload")
    assert app.show("app.target", "LoadState") == "not-found"


def refused(url: str) -> bool:
    """Whether nobody listens there."""
    return "refused" in get(url).error.lower()


def test_a_stopped_slot_stays_stopped(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    with load(app.url, connections=20, keep_alive=True, think=THINK) as clients:
        app.systemctl("stop", "app@1.service")
        app.systemctl("reload", "app.target")
        assert app.show("app@1.service", "ActiveState") == "inactive"
        assert len(app.pids()) == 2
        app.systemctl("start", "app@1.service")
    assert len(app.pids()) == 3
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_a_slot_that_is_stopped_during_the_rollout_stays_stopped(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    app.deploy(versions.good("2", startup_seconds=0.5))
    reload = app.machine.popen("systemctl", "reload", "app.target")
    app.machine.wait_until("app@surge.service", "ActiveState", lambda state: state == "active")
    app.systemctl("stop", "app@1.service")
    assert reload.wait() == 0
    assert app.show("app@1.service", "ActiveState") == "inactive"
    assert len(app.pids()) == 1


def test_a_masked_slot_stays_stopped_and_one_that_runs_is_told_of(app: App) -> None:
    app.deploy(versions.good("1"))
    app.systemctl("mask", "app@1.service")
    try:
        app.start(workers=2)
        before = app.pids()
        assert app.systemctl("reload", "app.target").returncode == 0
        assert len(app.pids()) == 1
        assert app.pids() != before
        before = app.pids()
        app.systemctl("unmask", "app@1.service")
        app.systemctl("mask", "app@0.service")
        assert app.systemctl("reload", "app.target", check=False).returncode != 0
        assert "nothing has changed: app@0.service is masked, but runs" in app.last_failure()
        assert app.pids() == before
    finally:
        app.systemctl("unmask", "app@0.service", "app@1.service")


def test_one_that_shrank_grows_again_whoever_holds_on_to_its_units(app: App) -> None:
    app.deploy(versions.good("1"))
    text = "[Unit]\nAfter=app@2.service\n[Service]\nExecStart=/bin/sleep infinity\n"
    app.machine.write("/run/systemd/system/holding.service", text)
    app.systemctl("daemon-reload")
    app.systemctl("start", "holding.service")
    app.start(workers=3)
    for workers in (1, 3):
        app.configure(workers=workers)
        assert app.systemctl("reload", "app.target").returncode == 0
        assert len(app.pids()) == workers
    app.systemctl("stop", "holding.service")


@pytest.mark.parametrize("surge", [0, 2])
def test_a_batch_of_slots_restarts_together(app: App, surge: int) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=4, more=f'[reload]\nbatch = "50%"\nsurge = {surge}\n')
    before = app.pids()
    with load(app.url, connections=20, keep_alive=True, think=THINK) as clients:
        assert app.systemctl("reload", "app.target").returncode == 0
    assert not set(before) & set(app.pids())
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    journal = app.machine.journal()
    assert "app@0.service, app@1.service ready (2 of 4)" in journal
    for number in (1, 2):
        unit = surge_units("app", 2)[number - 1]
        assert (f"Started {unit}" in journal) == (number <= surge)
        assert app.show(unit, "ActiveState") == "inactive"


def test_without_a_surge_worker_the_first_batch_meets_a_broken_version(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3, more="[reload]\nsurge = 0\n")
    before = app.pids()
    app.deploy(versions.BROKEN["fails in start-up"])
    with load(app.url, connections=20, keep_alive=True, think=THINK) as clients:
        assert app.systemctl("reload", "app.target", check=False).returncode != 0
        said = app.last_failure()
        assert "0 of 3 workers run the new version, the others were not touched: app@0.service" in said
        assert app.pids() == before[1:]
        app.deploy(versions.good("2"))
        assert app.systemctl("reload", "app.target").returncode == 0
        assert len(app.pids()) == 3
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def kill_the_rollout(app: App) -> None:
    """End the process that replaces workers, at once."""
    app.systemctl("kill", "--signal=KILL", "--kill-who=control", "app.service")


@pytest.mark.parametrize("stamped", [True, False], ids=["stamp", "no stamp"])
def test_a_rollout_that_was_killed_is_finished_by_the_next(app: App, stamped: bool) -> None:
    app.deploy(versions.good("1", startup_seconds=0.5))
    stamp = f"{versions.FOLDER}/REVISION"
    app.machine.write(stamp, "1")
    app.start(workers=4, more=f'[reload]\nstamp = "{stamp}"\n' if stamped else "")
    assert app.generations(4) == ["0"] * 4
    old = app.pids()
    with load(app.url, connections=20, keep_alive=True, think=THINK) as clients:
        app.deploy(versions.good("2", startup_seconds=0.5))
        app.machine.write(stamp, "2")
        reload = app.machine.popen("systemctl", "reload", "app.service")
        app.machine.wait_journal(r"app@1.service ready \(2 of 4\)")
        kill_the_rollout(app)
        assert reload.wait() != 0
        half = app.pids()
        assert len({*half, *old}) > len(old)
        assert app.systemctl("reload", "app.target").returncode == 0
        after = app.pids()
        assert not set(old) & set(after)
        assert (set(half[:2]) <= set(after)) == stamped
        number = "1" if stamped else "2"
        assert [str(one).partition("-")[0] for one in app.generations(4)] == [number] * 4
        # One that came to its end is no reason to leave anybody alone.
        assert app.systemctl("reload", "app.target").returncode == 0
        assert not set(after) & set(app.pids())
    assert "version 2" in app.get("/")
    assert app.show("app@surge.service", "ActiveState") == "inactive"
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


@pytest.fixture(params=["/usr/bin/svcctl", "/usr/lib/svc/python/svc/rollout/plan.py"])
def missing(machine: Machine, request: pytest.FixtureRequest) -> Iterator[str]:
    """A file of svc that is not there: an installation that was removed, or broke, under a running app."""
    path: str = request.param
    machine.run("mv", path, f"{path}.away")
    yield path
    machine.run("mv", f"{path}.away", path)


def test_who_asked_is_told_of_a_rollout_that_cannot_be_run_at_all(app: App, missing: str) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    before = app.pids()
    for unit in ("app.target", "app.service"):
        assert app.systemctl("reload", unit, check=False).returncode != 0, missing
    assert app.pids() == before
    assert app.get("/")
