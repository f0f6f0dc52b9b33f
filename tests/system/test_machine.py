"""The machine itself: it boots, tells what happens in it, forgets what a test did, leaves nothing behind."""

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import nspawn
from tests.machine import Machine
from tests.nspawn import MachineError

REPOSITORY = Path(__file__).parent.parent.parent

SERVICE = """
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'echo "hello from $$$$"; systemd-notify --ready --status=here; exec sleep infinity'
Restart=always
TimeoutStopSec=600
"""

# Ends only by SIGKILL, like a worker with a long request.
STUBBORN = SERVICE.replace("exec sleep infinity", 'trap "" TERM; while :; do sleep 1; done')

TEST_UNIT = "/etc/systemd/system/test-unit.service"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine without svc, with a folder of the host in it."""
    folder = tmp_path_factory.mktemp("private")  # below a folder that only its owner can enter
    folder.chmod(0o755)
    folder.joinpath("file").write_text("from the host\n")
    with Machine({folder: "/mnt/shared"}) as machine:
        yield machine


@pytest.fixture
def machine(bare: Machine) -> Iterator[Machine]:
    """The same, clean."""
    yield bare
    bare.reset()


def start(machine: Machine, text: str = SERVICE) -> int:
    """Write and start test-unit.service; its main process."""
    machine.write(TEST_UNIT, text)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "test-unit.service")
    return int(machine.show("test-unit.service", "MainPID")["MainPID"])


def test_a_real_systemd_is_running(machine: Machine) -> None:
    assert machine.systemctl("is-system-running").stdout == "running\n"
    assert machine.run("cat", "/proc/1/comm").stdout == "systemd\n"


def test_nothing_of_the_host_was_started(machine: Machine) -> None:
    shown = machine.systemctl(
        "list-units", "--type=service", "--state=running", "--plain", "--no-legend"
    ).stdout
    names = {line.split()[0] for line in shown.splitlines()}
    assert {name for name in names if not name.startswith(("systemd-", "dbus"))} == set()


def test_what_a_machine_writes_the_host_does_not_see(machine: Machine) -> None:
    machine.write("/etc/svc-test", "inside\n")
    assert not Path("/etc/svc-test").exists()
    assert machine.path("/etc/svc-test").read_text() == "inside\n"


def test_a_bound_folder_can_be_read_by_others_and_written_by_nobody(machine: Machine) -> None:
    as_nobody = ("setpriv", "--reuid=65534", "--clear-groups")
    assert machine.run(*as_nobody, "cat", "/mnt/shared/file").stdout == "from the host\n"
    assert machine.run("touch", "/mnt/shared/new", check=False).returncode != 0


def test_a_command_that_fails_says_what_it_said(machine: Machine) -> None:
    with pytest.raises(MachineError, match=r"ended with 5:\nno such thing"):
        machine.run("sh", "-c", "echo no such thing >&2; exit 5")
    assert machine.run("false", check=False).returncode == 1


def test_a_command_gets_its_input(machine: Machine) -> None:
    assert machine.run("tr", "a-z", "A-Z", input="shout").stdout == "SHOUT"


def test_a_command_that_takes_too_long_is_killed(machine: Machine) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        machine.run("sh", "-c", "exec sleep 4711", timeout=0.2)
    assert machine.run("pgrep", "--full", "sleep 4711", check=False).stdout == ""


def test_the_end_of_a_property_is_waited_for(machine: Machine) -> None:
    first = start(machine)
    assert machine.show("test-unit.service", "StatusText", "ActiveState") == {
        "StatusText": "here",
        "ActiveState": "active",
    }
    machine.systemctl("kill", "--signal=KILL", "test-unit.service")
    second = machine.wait_until("test-unit.service", "MainPID", lambda pid: pid not in ("0", str(first)))
    assert int(second) != first
    machine.systemctl("stop", "--no-block", "test-unit.service")
    assert machine.wait_until("test-unit.service", "SubState", lambda state: state == "dead") == "dead"


def test_waiting_goes_on_through_a_daemon_reexec(machine: Machine) -> None:
    start(machine)
    both = machine.popen("sh", "-c", "systemctl daemon-reexec; systemctl stop test-unit.service")
    assert machine.wait_until("test-unit.service", "ActiveState", lambda state: state == "inactive")
    assert both.wait() == 0


def test_systemd_can_be_executed_anew_as_often_as_one_likes(machine: Machine) -> None:
    # Each time it tells systemd-nspawn that it is ready, which passes that on.
    for _ in range(25):
        machine.systemctl("daemon-reexec", timeout=10)
        assert machine.systemctl("is-system-running", "--wait", timeout=10).stdout == "running\n"


def test_a_wait_that_is_in_vain_tells_the_state(machine: Machine) -> None:
    start(machine)
    with pytest.raises(TimeoutError, match=r"ActiveState is still 'active' after 0\.3 s"):
        machine.wait_until("test-unit.service", "ActiveState", lambda state: state == "failed", timeout=0.3)


def test_the_journal_of_a_unit(machine: Machine) -> None:
    pid = start(machine)
    # By systemd's word: journald may take a process's first lines for those of who started it.
    assert machine.wait_journal("(Started) test-unit", "test-unit.service")
    assert machine.wait_journal(r"hello from (\d+)")[1] == str(pid)
    cursor = machine.cursor()
    assert "Started" in machine.journal("test-unit.service")
    assert "Started" not in machine.journal("test-unit.service", since=cursor)
    machine.systemctl("restart", "test-unit.service")
    assert machine.wait_journal(r"hello from (\d+)", since=cursor)[1] != str(pid)
    with pytest.raises(TimeoutError, match="no message matches 'farewell'"):
        machine.wait_journal("farewell", timeout=0.3)


@pytest.mark.parametrize("text", [SERVICE, STUBBORN], ids=["obeys", "ignores SIGTERM"])
def test_a_reset_forgets_what_a_test_did(machine: Machine, text: str) -> None:
    start(machine, text)
    machine.write("/etc/svc/app.toml", "")
    machine.systemctl("set-property", "--runtime", "test-unit.service", "MemoryMax=1G")
    machine.run("systemd-run", "--unit=transient", "sleep", "infinity")
    machine.run("systemd-run", "--unit=failing", "--wait", "false", check=False)
    assert "failing" in machine.systemctl("--failed").stdout
    machine.reset()
    assert machine.show("test-unit.service", "LoadState", "ActiveState") == {
        "LoadState": "not-found",
        "ActiveState": "inactive",
    }
    assert machine.show("transient.service", "ActiveState")["ActiveState"] == "inactive"
    assert "failing" not in machine.systemctl("--failed").stdout
    assert not machine.path("/etc/svc/app.toml").exists()
    assert list(machine.path("/run/systemd/system.control").rglob("*.conf")) == []
    assert machine.journal() == ""


def test_a_reset_returns_to_the_checkpoint(bare: Machine) -> None:
    pid = start(bare)
    bare.checkpoint()
    bare.write("/etc/svc/app.toml", "")
    bare.reset()
    assert bare.show("test-unit.service", "MainPID")["MainPID"] == str(pid)
    bare.run("rm", TEST_UNIT)
    bare.systemctl("daemon-reload")
    bare.systemctl("kill", "--signal=KILL", "test-unit.service")
    bare.systemctl("stop", "test-unit.service")
    bare.checkpoint()


def remains(directory: Path) -> list[str]:
    """What a machine has left on the host."""
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{directory.name}")]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
    return [*cgroups, *mounts, *([str(directory)] if directory.exists() else [])]


def test_the_end_of_a_machine_leaves_nothing() -> None:
    machine = Machine()
    before = set(nspawn.PARENT.glob(f"{nspawn.PREFIX}*"))
    machine.boot()
    (directory,) = set(nspawn.PARENT.glob(f"{nspawn.PREFIX}*")) - before
    leader = os.pidfd_open(machine.leader)
    machine.close()
    with pytest.raises(ProcessLookupError):
        signal.pidfd_send_signal(leader, 0)
    os.close(leader)
    assert remains(directory) == []


def test_a_boot_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(nspawn.PARENT.glob(f"{nspawn.PREFIX}*"))
    with pytest.raises(MachineError, match=r"systemd-nspawn ended; its last words:\n.*/nowhere"):
        Machine({tmp_path / "nowhere": "/mnt"}).boot()
    assert set(nspawn.PARENT.glob(f"{nspawn.PREFIX}*")) == before


def test_a_killed_run_is_cleared_away_by_the_next() -> None:
    program = textwrap.dedent("""
        from tests.machine import Machine
        machine = Machine()
        machine.boot()
        print(machine._nspawn._directory, machine.leader, flush=True)
        input()
    """)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        where, leader = killed.stdout.readline().split()
        assert remains(Path(where)) != []
        ended = os.pidfd_open(int(leader))
        os.kill(int(leader), signal.SIGSTOP)  # it cannot even obey a power-off
        killed.kill()
    nspawn.remove_stale()
    assert remains(Path(where)) == []
    assert select.select([ended], [], [], 10)[0] == [ended]
    os.close(ended)
