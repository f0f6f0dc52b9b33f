"""The optional polkit rule: a deploy group may reload its app, and nothing else."""

from pathlib import Path

import pytest

from tests.machine import Result
from tests.system import versions
from tests.system.conftest import App

RULE = Path(__file__).parents[2] / "packaging/polkit/50-svc-deploy.rules"


@pytest.fixture
def deployed(app: App) -> App:
    """An app, and a user alice in its deploy group."""
    app.machine.write("/etc/polkit-1/rules.d/50-svc-deploy.rules", RULE.read_text())
    app.machine.run("sh", "-c", "getent group deploy-app || groupadd deploy-app")
    app.machine.run("sh", "-c", "getent passwd alice || useradd --groups deploy-app alice")
    app.deploy(versions.good("1"))
    app.start(workers=2)
    return app


def alice(app: App, *argv: str) -> Result:
    """Run a command as alice, in her session or what a deploy tool has of one."""
    user = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups"]
    return app.machine.run(*user, *argv, check=False)


def test_the_deploy_group_reloads_its_app(deployed: App) -> None:
    before = deployed.pids()
    deployed.deploy(versions.good("2"))
    done = alice(deployed, "systemctl", "--no-ask-password", "reload", "app.target")
    assert done.returncode == 0, done.stderr
    assert not set(before) & set(deployed.pids())
    assert "version 2" in deployed.get("/")


@pytest.mark.parametrize(
    "argv",
    [
        ("stop", "app.target"),
        ("restart", "app.target"),
        ("restart", "app@0.service"),
        ("reload", "multi-user.target"),
        ("reload", "app.service"),
        ("kill", "app@0.service"),
        ("set-property", "app@0.service", "CPUWeight=1"),
        ("daemon-reload",),
    ],
    ids=" ".join,
)
def test_and_nothing_else(deployed: App, argv: tuple[str, ...]) -> None:
    before = deployed.pids()
    done = alice(deployed, "systemctl", "--no-ask-password", *argv)
    assert done.returncode != 0
    assert "authentication required" in done.stderr.lower() or "not permitted" in done.stderr.lower(), (
        done.stderr
    )
    assert deployed.pids() == before
