"""svc as users get it: installed by `make install` on a real systemd, its workers run by systemd."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench import peers, proc
from tests.bench.peers import APPS, PYTHON, Site
from tests.install import REPOSITORY, install
from tests.machine import Machine, Result

FOLDER = "/srv/bench"
VENV = "/opt/svc-bench"

CONFIGURATION = """\
app = "{site.app}:{interface}"
directory = "{folder}"
python = "{venv}/bin/python"
listen = ["{site.address}"]
workers = {site.workers}
{more}
[env]
{env}
"""


@contextlib.contextmanager
def booted() -> Iterator[Machine]:
    """A throwaway systemd with svc installed in it."""
    binds = {REPOSITORY: "/run/host-svc", PYTHON.parent.parent: VENV, APPS: FOLDER}
    with Machine(binds) as machine:
        install(machine)
        machine.checkpoint()
        yield machine


@dataclass(frozen=True)
class Svc:
    """The app `bench` in the machine."""

    machine: Machine
    site: Site
    name: str = "bench"

    def pids(self) -> list[int]:
        """Its workers, by slot, as the host numbers them."""
        inner = {proc.inner_pid(pid): pid for pid in proc.in_cgroup(rf"/{self.name}@")}
        return [inner[pid] for pid in self.main_pids() if pid in inner]

    def main_pids(self) -> list[int]:
        """The same as the machine numbers them."""
        shown = self._show("MainPID")
        return [int(shown[slot]) for slot in sorted(shown, key=_number) if shown[slot] != "0"]

    def cpu_seconds(self) -> float:
        """What its workers have used so far."""
        return proc.cpu_seconds(self.pids())

    def reload(self) -> Result:
        """`systemctl reload`; returns when the rollout is done."""
        return self.machine.systemctl("reload", f"{self.name}.target")

    def _show(self, name: str) -> dict[str, str]:
        """A property of every worker, by the worker's slot."""
        shown = self.machine.systemctl("show", f"--property=Id,{name}", f"{self.name}@*.service").stdout
        found = {}
        for block in shown.split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if slot := re.fullmatch(r".*@(\w+)\.service", values.get("Id", "")):
                found[slot[1]] = values[name]
        return found


def _number(slot: str) -> int:
    return int(slot) if slot.isdigit() else 1 << 30


@contextlib.contextmanager
def serving(machine: Machine, site: Site, interface: str = "asgi", more: str = "") -> Iterator[Svc]:
    """The app on all its workers, ready; stopped and forgotten afterwards."""
    env = "\n".join(f"{name} = {json.dumps(value)}" for name, value in site.env.items())
    text = CONFIGURATION.format(site=site, interface=interface, folder=FOLDER, venv=VENV, more=more, env=env)
    machine.write("/etc/svc/bench.toml", text)
    machine.systemctl("daemon-reload")
    try:
        machine.systemctl("start", "bench.target")
        peers.wait_answers(site.url)
        yield Svc(machine, site)
    finally:
        machine.reset()
