"""`svcctl reload`, `status` and `list`: what an operator sees, and the exit status that a script does."""

import re

import pytest

from svc.ctl import codes
from svc.rollout.events import Message
from tests.client import load
from tests.machine import Result
from tests.system import versions
from tests.system.conftest import THINK, App


def svcctl(app: App, *argv: str) -> Result:
    """Run svcctl to its end."""
    return app.machine.run("svcctl", *argv, check=False)


def test_reload_shows_how_it_goes(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    before = app.pids()
    with load(app.url, connections=20, keep_alive=True, think=THINK) as clients:
        done = svcctl(app, "reload", "app")
    assert done.returncode == codes.DONE, done.stderr
    assert not set(before) & set(app.pids())
    texts = [line.split("  ", 1)[1].split(" s  ")[-1] for line in done.stdout.splitlines()]
    assert texts == [
        "rolling out generation 1",
        "starting app@surge.service with the new version",
        "restarting app@0.service",
        "app@0.service ready (1 of 2)",
        "restarting app@1.service",
        "app@1.service ready (2 of 2)",
        "2 workers run generation 1",
    ]
    assert done.stderr == ""
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_on_a_terminal_it_draws_a_bar(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    drawn = app.machine.run("script", "-qec", "svcctl reload app", "/dev/null").stdout
    assert re.search(r"\[#{12}\.{12}\] 1/2  \d+\.\d s  restarting app@1\.service", drawn), drawn
    assert "2 workers run generation 1" in drawn


def test_a_failed_reload_says_why_in_one_line_and_what_the_worker_said(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    app.deploy(versions.BROKEN["fails in start-up"])
    done = svcctl(app, "reload", "app")
    assert done.returncode == codes.FAILED
    first, *rest = done.stderr.splitlines()
    assert first == (
        "svcctl: nothing has changed: the new version did not become ready: "
        "app: the application's start-up failed: RuntimeError: no database"
    )
    assert "  app@surge.service: Traceback (most recent call last):" in rest
    # The next one that fails does not repeat it.
    app.configure(workers=2, more="worker = 3\n")
    done = svcctl(app, "reload", "app")
    assert done.returncode == codes.FAILED
    assert len(done.stderr.splitlines()) == 1
    assert "nothing has changed: the app file is not valid (`svcctl check app`)" in done.stderr
    assert "did you mean `workers`?" in done.stderr


def test_one_that_fails_half_way_has_an_exit_status_of_its_own(app: App) -> None:
    app.deploy(versions.only_in_slots("1", "surge", "0"))
    app.start(workers=1)
    app.configure(workers=3)
    done = svcctl(app, "reload", "app")
    assert done.returncode == codes.PARTLY
    assert "1 of 3 workers run the new version, the others were not touched: app@1.service" in done.stderr


def test_abort_ends_it_after_the_batch_that_it_is_at(app: App) -> None:
    app.deploy(versions.good("1", startup_seconds=0.5))
    app.start(workers=4)
    before = app.pids()
    with load(app.url, connections=20, keep_alive=True, think=THINK) as clients:
        reload = app.machine.popen("svcctl", "reload", "app")
        app.machine.wait_journal(r"app@0.service ready")
        waiting = app.machine.popen("systemctl", "reload", "app.target")
        app.machine.wait_journal(r"app@1.service ready")
        done = svcctl(app, "reload", "--abort", "app")
        assert done.returncode == codes.DONE, done.stderr
        assert reload.wait() == codes.ABORTED
        assert waiting.wait() != 0
        after = app.pids()
        same = len(set(before) & set(after))
        assert same in (1, 2)
        assert f"aborted; {4 - same} of 4 workers run the new version" in done.stdout
        assert app.show("app@surge.service", "ActiveState") == "inactive"
        assert app.show("app.service", "ActiveState") == "active"
        assert svcctl(app, "reload", "--abort", "app").returncode == codes.FAILED  # none runs
        assert svcctl(app, "reload", "app").returncode == codes.DONE
    assert not set(before) & set(app.pids())
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_abort_while_the_surge_worker_starts(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    before = app.pids()
    app.deploy(versions.BROKEN["hangs in start-up"])
    reload = app.machine.popen("svcctl", "reload", "app")
    app.machine.wait_until("app@surge.service", "ActiveState", lambda state: state == "activating")
    assert "nothing has changed" in svcctl(app, "reload", "--abort", "app").stdout
    assert reload.wait() == codes.ABORTED
    assert app.pids() == before


def test_status(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    app.systemctl("reload", "app.target")
    app.systemctl("stop", "app@1.service")
    done = svcctl(app, "status", "app")
    assert done.returncode == codes.FAILED
    title, head, *rows = done.stdout.splitlines()
    assert re.match(r"app: running; last reload done after \d+\.\d s, .* 3 workers run generation 1$", title)
    assert head.split() == ["SLOT", "PID", "STATE", "GENERATION", "SINCE"]
    pids = app.pids()
    shown = [row.split()[:4] for row in rows]
    assert shown == [
        ["0", str(pids[0]), "running", "1"],
        ["1", "-", "stopped", "-"],
        ["2", str(pids[1]), "running", "1"],
    ]
    assert all(re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \(\d+\.\d s\)$", row) for row in rows)
    app.systemctl("start", "app@1.service")
    assert svcctl(app, "status", "app").returncode == codes.DONE


def test_list(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    app.machine.write("/etc/svc/other.toml", 'app = "a:b"\nlisten = "127.0.0.1:1"\n')
    done = svcctl(app, "list")
    assert done.returncode == codes.DONE, done.stderr
    head, *rows = (line.split() for line in done.stdout.splitlines())
    assert head == ["APP", "STATE", "WORKERS", "GENERATION", "LISTEN"]
    assert rows == [
        ["app", "running", "2/2", "0", f"127.0.0.1:{app.port}"],
        ["other", "stopped", "0/0", "-", "127.0.0.1:1"],
    ]
    app.machine.write("/etc/svc/other.toml", "app = 3\n")
    assert svcctl(app, "list").returncode == codes.FAILED


@pytest.mark.parametrize("command", [["reload"], ["reload", "--abort"], ["status"]], ids=" ".join)
def test_an_app_that_does_not_run(app: App, command: list[str]) -> None:
    app.configure(workers=2)
    app.systemctl("daemon-reload")
    done = svcctl(app, *command, "app")
    assert done.returncode == codes.NOT_RUNNING
    assert "systemctl start app.target" in done.stderr


def test_the_journal_has_fields_to_search_by_and_a_catalog(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    app.systemctl("reload", "app.target")
    found = app.machine.run("journalctl", "--output=json", "SVC_APP=app", "SVC_SLOT=1", "SVC_GENERATION=1")
    assert "app@1.service ready (2 of 2)" in found.stdout
    # What a worker says has them, too.
    found = app.machine.run("journalctl", "--output=cat", "SVC_APP=app", "SVC_SLOT=1", "_TRANSPORT=stdout")
    assert "ready on http" in found.stdout
    explained = app.machine.run("journalctl", "--catalog", f"MESSAGE_ID={Message.DONE.value}").stdout
    assert "Subject: A rollout of app has come to its end" in explained


def test_a_check_by_root_runs_nothing_of_the_app_as_root(app: App) -> None:
    app.machine.write("/srv/app/python", '#!/bin/sh\nid -u >/run/who/uid\nexec /usr/bin/python3 "$@"\n')
    app.machine.run("sh", "-c", "chmod 755 /srv/app/python; mkdir -p /run/who; chmod 777 /run/who")
    for user, uid in ("", "65534"), ('user = "daemon"\n', "1"):
        text = versions.configuration(app.port, 1, user).replace(versions.PYTHON, "/srv/app/python")
        app.machine.write("/etc/svc/app.toml", text)
        app.machine.run("rm", "-f", "/run/who/uid")
        svcctl(app, "check", "app")
        assert app.machine.run("cat", "/run/who/uid").stdout == f"{uid}\n"


def test_a_check_by_root_has_the_groups_of_a_worker(app: App) -> None:
    app.machine.write("/srv/app/python", f'#!/bin/sh\nexec {versions.PYTHON} "$@"\n')
    app.machine.run("sh", "-c", "chgrp games /srv/app/python; chmod 750 /srv/app/python")
    text = versions.configuration(app.port, 1).replace(versions.PYTHON, "/srv/app/python")
    app.machine.write("/etc/svc/app.toml", text.replace(versions.FOLDER, "/srv/app"))
    done = svcctl(app, "check", "app")
    assert done.returncode == 1
    assert "/srv/app/python does not run: " in done.stderr
    for directive in "Group", "SupplementaryGroups":
        app.machine.write("/etc/svc/app.toml.d/group.toml", f'[service]\n{directive} = "games"\n')
        done = svcctl(app, "check", "app")
        assert (done.returncode, done.stderr) == (0, "")
