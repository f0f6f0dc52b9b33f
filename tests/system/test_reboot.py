"""A host that reboots: with a machine of its own, for nothing that is in memory survives."""

from collections.abc import Iterator

import pytest

from tests.install import SERVED, install
from tests.machine import Machine
from tests.system import versions
from tests.system.conftest import App


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with svc installed in it."""
    with Machine(SERVED) as machine:
        install(machine)
        yield machine


def test_an_app_is_back_after_a_reboot_in_the_middle_of_a_rollout(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    app.deploy(versions.good("2", startup_seconds=1))
    app.machine.popen("systemctl", "reload", "app.target")
    app.machine.wait_journal(r"app@0.service ready \(1 of 2\)")
    app.machine.reboot()
    assert len(app.pids()) == 2
    assert "version 2" in app.get("/")
    assert app.generations(2) == ["0", "0"]
    assert app.show("app@surge.service", "ActiveState") == "inactive"
    before = app.pids()
    assert app.systemctl("reload", "app.target").returncode == 0
    assert not set(before) & set(app.pids())
