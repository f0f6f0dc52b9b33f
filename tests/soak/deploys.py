"""Deploys that are broken: the reload fails and says why, nothing has changed, and a mended one is taken."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.soak.trial import Row, Trial
from tests.system import versions
from tests.system.conftest import App

STAMP = f"{versions.FOLDER}/REVISION"
TYPO = "20-typo"

Step = Callable[[App], object]


def nothing(_app: App) -> None:
    """The new version is what is wrong, or what the configuration asks of it."""


def shell(script: str) -> Step:
    """Return what runs a script in the machine."""
    return lambda app: app.machine.run("sh", "-euc", script)


def without_canary(app: App) -> None:
    """Ask for a page that each version has."""
    app.drop_in("90-mend", '[reload]\ncanary = "/"\n')


@dataclass(frozen=True, slots=True)
class Deploy:
    """What is wrong: the new version, or something in the machine, and what mends that.

    `says` is a pattern of what the failure must say, `reload` are keys of the configuration.
    """

    says: str
    version: str = versions.good("2")
    breaks: Step = nothing
    mends: Step = nothing
    reload: str = ""


KINDS = {
    **{kind: Deploy(versions.REASONS[kind], text) for kind, text in versions.BROKEN.items()},
    "ends between its start-up and the canary": Deploy(
        "it ended with exit-code",
        versions.fails_in_start_up("asyncio.get_running_loop().call_soon(os._exit, 3)"),
        reload='canary = "/"',
    ),
    "crashes when the canary is asked": Deploy(
        "it ended with exit-code", mends=without_canary, reload='canary = "/crash"'
    ),
    "hangs when the canary is asked": Deploy(
        "not ready within its time", mends=without_canary, reload='canary = "/hang"'
    ),
    "is slow to answer the canary": Deploy(
        r"the canary /slow was not answered within 0\.3 s",
        mends=without_canary,
        reload='canary = "/slow"\ncanary_timeout = 0.3',
    ),
    "answers the canary with 500": Deploy(
        "^nothing has changed: the new version did not become ready: "
        "app: the canary /healthz was answered with 500 Internal Server Error$",
        versions.good("2", health=500),
        reload='canary = "/healthz"',
    ),
    "the interpreter is gone": Deploy(
        "/srv/venv/bin/python: No such file",
        breaks=shell("rm /srv/venv"),
        mends=shell("ln -s /opt/svc-venv /srv/venv"),
    ),
    "the directory is gone": Deploy(
        "working directory failed: No such file",
        breaks=shell(f"mv {versions.FOLDER} {versions.FOLDER}.away"),
        mends=shell(f"mv {versions.FOLDER}.away {versions.FOLDER}"),
    ),
    "the configuration became invalid": Deploy(
        "did you mean `workers`",
        breaks=lambda app: app.drop_in(TYPO, "worker = 3\n"),
        mends=shell(f"rm /etc/svc/app.toml.d/{TYPO}.toml"),
    ),
    "the app file is empty": Deploy(
        "the app file is gone, or masked",
        breaks=shell("cp /etc/svc/app.toml /etc/svc/app.away; : > /etc/svc/app.toml"),
        mends=shell("mv /etc/svc/app.away /etc/svc/app.toml"),
    ),
    "the disk is full": Deploy(
        r"/run/svc/\.rollout/app/lock: No space left on device",
        breaks=shell("cd /run/svc/.rollout/app; mount -t tmpfs -o nr_inodes=2 tmpfs $PWD; mkdir $PWD/units"),
        mends=shell("umount /run/svc/.rollout/app"),
    ),
}


def broken(app: App, kind: str) -> Row:
    """A deploy of one of these kinds: whoever asks for it, of the app or of its coordinator, is told."""
    deploy = KINDS[kind]
    app.machine.run("ln", "-sfn", "/opt/svc-venv", "/srv/venv")
    app.deploy(versions.good("1"))
    app.drop_in("10-venv", 'python = "/srv/venv/bin/python"\n')
    app.start(workers=2, more=f"[limits]\nstart = 5\n[reload]\n{deploy.reload}\n")
    before = app.pids()
    app.deploy(deploy.version)
    with Trial(app, keep_alive=True) as trial:
        deploy.breaks(app)
        try:
            for unit in ("app.target", "app.service"):
                done = app.systemctl("reload", unit, check=False)
                assert done.returncode != 0, done.stderr
        finally:
            deploy.mends(app)
        said = app.last_failure()
        assert said.startswith("nothing has changed: "), said
        assert re.search(deploy.says, said), said
        assert app.pids() == before
        assert app.show("app@surge.service", "ActiveState") == "inactive"
        assert "version 1" in app.get("/")
        app.deploy(versions.good("3"))
        assert app.systemctl("reload", "app.target").returncode == 0
        assert not set(before) & set(app.pids())
        assert "version 3" in app.get("/")
        return trial.row(f"a broken deploy: {kind}", "the 2 old workers; new ones once mended")


def only_the_third_slot(app: App) -> Row:
    """The third slot fails: the rest goes on, and the next rollout does what is left."""
    app.deploy(versions.good("1"))
    app.machine.write(STAMP, "1")
    app.start(workers=4, more=f'[reload]\nstamp = "{STAMP}"\n')
    before = app.pids()
    app.deploy(versions.only_in_slots("2", "surge", "0", "1"))
    app.machine.write(STAMP, "2")
    with Trial(app, keep_alive=True) as trial:
        assert app.systemctl("reload", "app.target", check=False).returncode != 0
        assert "2 of 4 workers run the new version" in app.last_failure()
        assert "app@2.service did not become ready" in app.last_failure()
        half = app.pids()  # three: the third slot is away
        assert not set(half[:2]) & set(before)
        assert half[2] == before[3]
        assert app.show("app@surge.service", "ActiveState") == "inactive"
        # What was wrong was not the code, so the stamp is the same: whoever has it already is left alone.
        app.deploy(versions.good("2"))
        assert app.systemctl("reload", "app.target").returncode == 0
        after = app.pids()
        row = trial.row(
            "a broken deploy: only the third slot of 4 fails",
            "2 new and 1 old worker; 4 new ones by the next reload",
        )
    assert after[:2] == half[:2]
    assert len(after) == 4
    assert before[3] not in after
    return row
