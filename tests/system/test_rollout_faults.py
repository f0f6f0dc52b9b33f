"""Rollouts that meet a broken deploy, are killed or disturbed: what clients see, and what comes after."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from svc.rollout.events import Message
from tests.client import load
from tests.system import versions
from tests.system.conftest import App

STAMP = f"{versions.FOLDER}/REVISION"


def last_failure(app: App) -> str:
    """The line in which a rollout said last why it failed."""
    chosen = ("--quiet", "--output=cat", "--lines=1", f"MESSAGE_ID={Message.FAILED.value}")
    return app.machine.run("journalctl", *chosen).stdout.strip()


def surge_is_gone(app: App) -> bool:
    """Whether no surge worker is left."""
    return app.show("app@surge.service", "ActiveState") == "inactive"


# -- broken deploys ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deploy:
    """A deploy that is broken: what it does to the machine, what mends it, and what the failure must say."""

    breaks: Callable[[App], object]
    mends: Callable[[App], object]
    says: str
    reload: str = ""


def nothing(_app: App) -> None:
    """The canary is what is wrong, which the configuration says."""


def shell(script: str) -> Callable[[App], object]:
    """Return what runs a script in the machine."""
    return lambda app: app.machine.run("sh", "-euc", script)


def without_canary(app: App) -> None:
    """Take the canary away again."""
    app.drop_in("90-mend", '[reload]\ncanary = "/"\n')


BROKEN = {
    "crashes when the canary is asked": Deploy(
        nothing, without_canary, "it ended with exit-code", 'canary = "/crash"'
    ),
    "hangs when the canary is asked": Deploy(
        nothing, without_canary, "not ready within its time", 'canary = "/hang"'
    ),
    "is slow to answer the canary": Deploy(
        nothing,
        without_canary,
        "the canary /slow was not answered within 0.3 s",
        'canary = "/slow"\ncanary_timeout = 0.3',
    ),
    "the interpreter is gone": Deploy(
        shell("rm /srv/venv"), shell("ln -s /opt/svc-venv /srv/venv"), "/srv/venv/bin/python: No such file"
    ),
    "the directory is gone": Deploy(
        shell(f"mv {versions.FOLDER} {versions.FOLDER}.away"),
        shell(f"mv {versions.FOLDER}.away {versions.FOLDER}"),
        "working directory failed: No such file",
    ),
    "the app file is empty": Deploy(
        shell("cp /etc/svc/app.toml /etc/svc/app.away; : > /etc/svc/app.toml"),
        shell("mv /etc/svc/app.away /etc/svc/app.toml"),
        "nothing has changed: the app file is gone, or masked",
    ),
    "the disk is full": Deploy(
        shell("cd /run/svc/.rollout/app; mount -t tmpfs -o nr_inodes=2 tmpfs $PWD; mkdir $PWD/units"),
        shell("umount /run/svc/.rollout/app"),
        "nothing has changed: /run/svc/.rollout/app/lock: No space left on device",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_deploy_changes_nothing(app: App, kind: str) -> None:
    deploy = BROKEN[kind]
    app.machine.run("ln", "-sfn", "/opt/svc-venv", "/srv/venv")
    app.deploy(versions.good("1"))
    app.drop_in("10-venv", 'python = "/srv/venv/bin/python"\n')
    app.start(workers=2, more=f"[limits]\nstart = 8\n[reload]\n{deploy.reload}\n")
    before = app.pids()
    app.deploy(versions.good("2"))
    with load(app.url, connections=20, keep_alive=True) as clients:
        deploy.breaks(app)
        try:
            done = app.systemctl("reload", "app.target", check=False)
        finally:
            deploy.mends(app)
        assert done.returncode != 0
        assert deploy.says in last_failure(app)
        assert app.pids() == before
        assert surge_is_gone(app)
        assert app.systemctl("reload", "app.target").returncode == 0
    assert "version 2" in app.get("/")
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_when_only_the_third_slot_fails_the_rest_goes_on_and_the_next_rollout_does_what_is_left(
    app: App,
) -> None:
    app.deploy(versions.good("1"))
    app.machine.write(STAMP, "1")
    app.start(workers=4, more=f'[reload]\nstamp = "{STAMP}"\n')
    before = app.pids()
    app.deploy(versions.only_in_slots("2", "surge", "0", "1"))
    app.machine.write(STAMP, "2")
    with load(app.url, connections=20, keep_alive=True) as clients:
        assert app.systemctl("reload", "app.target", check=False).returncode != 0
        assert "2 of 4 workers run the new version" in last_failure(app)
        assert "app@2.service did not become ready" in last_failure(app)
        half = app.pids()  # three: the third slot is away
        assert not set(half[:2]) & set(before)
        assert half[2] == before[3]
        assert surge_is_gone(app)
        # What was wrong was not the code, so the stamp is the same: whoever has it already is left alone.
        app.deploy(versions.good("2"))
        assert app.systemctl("reload", "app.target").returncode == 0
        after = app.pids()
    assert after[:2] == half[:2]
    assert len(after) == 4
    assert before[3] not in after
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


# -- the process of the rollout is killed ------------------------------------------------------


def at_state(unit: str, state: str) -> Callable[[App], object]:
    """Return what waits for a unit's state."""
    return lambda app: app.machine.wait_until(unit, "ActiveState", lambda now: now == state)


def at_message(pattern: str) -> Callable[[App], object]:
    """Return what waits for a line in the journal."""
    return lambda app: app.machine.wait_journal(pattern)


STEPS = {
    "as it begins": at_state("app.service", "reloading"),
    "as the surge worker starts": at_state("app@surge.service", "activating"),
    "as a slot stops": at_message(r"Stopping app@0\.service"),
    "as a slot starts": at_message(r"Stopped app@0\.service"),
    "between two slots": at_message(r"app@1\.service ready"),
    "as the surge worker stops": at_state("app@surge.service", "deactivating"),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_told_and_the_next_one_does_the_rest(app: App, step: str) -> None:
    app.deploy(versions.good("1"))
    app.machine.write(STAMP, "1")
    # So that there is time to kill it there.
    app.machine.write(
        "/etc/systemd/system/app@surge.service.d/slow.conf", "[Service]\nExecStopPost=/bin/sleep 0.5\n"
    )
    app.start(workers=3, more=f'[reload]\nstamp = "{STAMP}"\n')
    before = app.pids()
    app.deploy(versions.good("2", startup_seconds=0.3))
    app.machine.write(STAMP, "2")
    with load(app.url, connections=20, keep_alive=True) as clients:
        reload = app.machine.popen("systemctl", "reload", "app.target")
        STEPS[step](app)
        app.systemctl("kill", "--signal=KILL", "--kill-whom=control", "app.service")
        assert reload.wait() != 0
        app.machine.wait_until("app.service", "ActiveState", lambda state: state == "active")
        assert app.systemctl("reload", "app.target").returncode == 0
    after = app.pids()
    assert len(after) == 3
    assert not set(before) & set(after)
    assert "version 2" in app.get("/")
    assert surge_is_gone(app)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


# -- stop and restart in the middle -------------------------------------------------------------


@pytest.mark.parametrize("step", ["as the surge worker starts", "as a slot stops", "between two slots"])
@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_stop_and_restart_in_the_middle(app: App, verb: str, step: str) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    before = app.pids()
    app.deploy(versions.good("2", startup_seconds=0.3))
    with load(app.url, connections=20, keep_alive=verb == "stop") as clients:
        reload = app.machine.popen("systemctl", "reload", "app.target")
        STEPS[step](app)
        if verb == "stop":
            clients.stop()  # whoever asks an app that is being stopped is refused
        app.systemctl(verb, "app.target")
        # A restart takes the reload's place, and does what that was asked for: all have the new version.
        assert (reload.wait() == 0) == (verb == "restart")
    if verb == "stop":
        for unit in ("app.service", "app.socket"):
            app.machine.wait_until(unit, "ActiveState", lambda state: state == "inactive")
        shown = app.systemctl("list-units", "--all", "--plain", "--no-legend", "app.*", "app@*").stdout
        assert [line for line in shown.splitlines() if line.split()[2] not in ("inactive", "failed")] == []
        assert app.machine.run("ls", "/run/svc/.rollout").stdout.split() == []
        app.systemctl("start", "app.target")
    else:
        seen = clients.stop()
        assert seen.failed == 0, seen.table()
    app.machine.wait_until("app.target", "ActiveState", lambda state: state == "active")
    assert len(app.pids()) == 3
    assert not set(before) & set(app.pids())
    assert "version 2" in app.get("/")
    app.machine.wait_until("app@surge.service", "ActiveState", lambda state: state == "inactive")
    assert app.systemctl("reload", "app.target").returncode == 0


# -- systemd is disturbed -----------------------------------------------------------------------


def test_daemon_reload_every_100_ms_while_the_app_is_reloaded(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    every = "systemctl daemon-reload; sleep .1"
    script = f"end=$(($(date +%s) + 10)); while [ $(date +%s) -lt $end ]; do {every}; done"
    with load(app.url, connections=20, keep_alive=True) as clients:
        disturbing = app.machine.popen("sh", "-c", script)
        rollouts = 0
        while disturbing.poll() is None:
            before = app.pids()
            assert app.systemctl("reload", "app.target").returncode == 0
            assert not set(before) & set(app.pids())
            rollouts += 1
    assert rollouts > 0
    assert len(app.pids()) == 3
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_daemon_reexec_in_the_middle_of_a_rollout(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    before = app.pids()
    app.deploy(versions.good("2", startup_seconds=0.3))
    with load(app.url, connections=20, keep_alive=True) as clients:
        reload = app.machine.popen("systemctl", "reload", "app.service")
        for step in ("as the surge worker starts", "as a slot stops", "between two slots"):
            STEPS[step](app)
            app.systemctl("daemon-reexec")
        reload.wait()  # its connection to systemd broke
        app.machine.wait_until("app.service", "ActiveState", lambda state: state == "active")
    assert not set(before) & set(app.pids())
    assert len(app.pids()) == 3
    assert "version 2" in app.get("/")
    assert surge_is_gone(app)
    assert app.machine.run("svcctl", "status", "app").returncode == 0
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
