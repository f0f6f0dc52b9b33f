"""What an app costs a machine, counted before and after: what grew in between is a leak."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from tests.machine import Machine
from tests.soak import workers
from tests.system.conftest import App

# Workers are new processes each time, which are never equal to the last byte; what leaks with each
# reload or kill is much more than this after a minute of them.
SPARE_DESCRIPTORS = 4
SPARE_BYTES = 16 << 20

# What systemd itself keeps in /run about each process that ran, in as many files as there are units.
FILES = "find /run -xdev ! -path '/run/log/*' ! -path '/run/systemd/journal/streams/*' -printf '%p\\n'"


@dataclass(frozen=True, slots=True)
class Census:
    """What there is: memory in bytes, of systemd and of the workers together."""

    descriptors: int
    manager_descriptors: int
    bytes: int
    manager_bytes: int
    processes: int
    files: frozenset[str]
    units: frozenset[str]

    def leaks(self, later: "Census") -> list[str]:
        """Say what is more in a later census, a line each."""
        found = [
            f"{what}: {before} before, {after} after"
            for what, before, after, spare in (
                ("descriptors of the workers", self.descriptors, later.descriptors, SPARE_DESCRIPTORS),
                (
                    "descriptors of systemd",
                    self.manager_descriptors,
                    later.manager_descriptors,
                    SPARE_DESCRIPTORS,
                ),
                ("memory of the workers", self.bytes, later.bytes, SPARE_BYTES),
                ("memory of systemd", self.manager_bytes, later.manager_bytes, SPARE_BYTES),
                ("processes", self.processes, later.processes, 0),
            )
            if after > before + spare
        ]
        found += [f"a file is left in /run: {name}" for name in sorted(later.files - self.files)]
        found += [f"a unit is left: {name}" for name in sorted(later.units - self.units)]
        return found


def take(app: App) -> Census:
    """Count. No load may run, and all workers must be ready."""
    machine = app.machine
    pids = workers.on_host(machine, app.pids())
    return Census(
        descriptors=sum(map(_descriptors, pids)),
        manager_descriptors=_descriptors(machine.leader),
        bytes=sum(map(_bytes, pids)),
        manager_bytes=_bytes(machine.leader),
        processes=len(_processes(machine)),
        files=frozenset(machine.run("sh", "-c", FILES).stdout.splitlines()),
        units=_units(machine),
    )


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _processes(machine: Machine) -> list[str]:
    """The processes of all services (not of the commands that this test runs)."""
    found = []
    namespace = Path(f"/proc/{machine.leader}/ns/pid").readlink()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns/pid").readlink() == namespace and ".service" in (entry / "cgroup").read_text():
                found.append(entry.name)
    return found


def _units(machine: Machine) -> frozenset[str]:
    listed = machine.systemctl("list-units", "--all", "--plain", "--no-legend", "--full").stdout
    return frozenset(line.split()[0] for line in listed.splitlines() if line.strip())
