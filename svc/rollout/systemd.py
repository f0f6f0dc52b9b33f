"""systemd's manager, by its own command. What systemctl says is checked against what the units then show."""

import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from svc.rollout.generation import of_process

# How long to wait before systemd is asked again after its connection broke (a daemon-reexec), in seconds.
_RETRY = 0.2
# How often it is asked in vain before that is an error: a re-execution takes well under ten seconds.
_RETRIES = 150
# For who only looks: nobody waits half a minute to be told that there is no systemd.
_LOOKS = 10
# A re-execution cuts the connections of systemctls, and what one of them has asked for may be lost with it.
_TRIES = 3


class SystemdError(Exception):
    """systemctl could not do what was asked; the text is its own."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as systemd sees it: `invocation` is new at every start, `started` says it was active once.

    `pid` and `job` are 0 when it has none; `since` is when its state changed, in seconds since the epoch.
    """

    active: str
    sub: str
    result: str
    invocation: str
    started: bool
    job: int
    pid: int = 0
    since: float = 0.0
    load: str = "loaded"
    restart: str = ""


_STATE = (
    *("LoadState", "Restart"),
    *("ActiveState", "SubState", "Result", "InvocationID"),
    *("ActiveEnterTimestampMonotonic", "Job", "MainPID", "StateChangeTimestamp"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that systemd has to do. `waits`: it has not begun, or is to be done once more."""

    number: int
    waits: bool


class Manager:
    """The systemd that runs the units: the system's, or with `user` the calling user's."""

    def __init__(self, *, user: bool = False, patient: bool = True) -> None:
        self._scope = ["--user"] if user else []
        self._tries = _RETRIES if patient else _LOOKS

    def state(self, unit: str) -> UnitState:
        """Return a unit's state. Raises SystemdError when systemd does not answer."""
        return self.states([unit])[unit]

    def states(self, units: Sequence[str]) -> dict[str, UnitState]:
        """Return the states of several units, asked for at once. Raises SystemdError."""
        return {unit: _state(values) for unit, values in self.show(units, *_STATE).items()}

    def loaded(self, pattern: str) -> dict[str, UnitState]:
        """Return the states of the units that a pattern matches and systemd knows. Raises SystemdError."""
        found = [_values(block) for block in self._shown([pattern], ("Id", *_STATE))]
        return {values["Id"]: _state(values) for values in found}

    def generation(self, pid: int) -> str | None:
        """Return the generation that a worker's main process was started as; None when it is not known."""
        return of_process(pid) if pid else None

    def cat(self, unit: str) -> str:
        """Return the text of a unit with all its drop-ins. Raises SystemdError."""
        return self._ask("cat", unit)

    def show(self, units: Sequence[str], *properties: str) -> dict[str, dict[str, str]]:
        """Return properties of several units, asked for at once. Raises SystemdError."""
        blocks = self._shown(units, properties) if units else []
        return {unit: _values(block) for unit, block in zip(units, blocks, strict=True)}

    def job(self, unit: str, *kinds: str) -> Job | None:
        """Return a unit's waiting or running job of one of these kinds ("reload", "stop")."""
        for line in self._ask("list-jobs", "--no-legend", unit).splitlines():
            number, _, kind, state = line.split()[:4]
            if kind in kinds:
                return Job(int(number), waits=state == "waiting")
        return None

    def cancel(self, job: int) -> None:
        """Cancel a job; whoever waits for it is told that it was cancelled."""
        self._run("cancel", str(job))

    def kill(self, unit: str, number: signal.Signals) -> str:
        """Send a signal to the process that reloads a unit; return what went wrong, or nothing."""
        code, errors = self._run("kill", "--kill-whom=control", f"--signal={number.name}", unit)
        return errors if code else ""

    def daemon_reload(self) -> None:
        """Make systemd read all units anew. Raises SystemdError."""
        for _ in range(_TRIES):
            code, errors = self._run("daemon-reload")
            if not code:
                return
            time.sleep(_RETRY)
        raise SystemdError(errors or "daemon-reload failed")

    def stop(self, units: Sequence[str]) -> None:
        """Stop units and wait until they have stopped."""
        for _ in range(_TRIES):
            self._run("stop", *units)
            states = self._settle(units)
            # Still there: the request was lost with systemctl's connection.
            units = [unit for unit in units if states[unit].active not in ("inactive", "failed")]
            if not units:
                break

    def begin_to_stop(self, units: Sequence[str]) -> None:
        """Have units stopped, without waiting."""
        if units:
            self._run("stop", "--no-block", *units)

    def start(self, units: Sequence[str]) -> list[str]:
        """Start units, wait for all of them; return those that did not become active."""
        before = {unit: state.invocation for unit, state in self.states(units).items()}
        states: dict[str, UnitState] = {}
        left = list(units)
        for _ in range(_TRIES):
            self._run("start", *left)
            states |= self._settle(left)
            left = [
                unit
                for unit in left
                if states[unit].active != "active" and states[unit].invocation == before[unit]
            ]
            if not left:
                break
        return [unit for unit in units if states[unit].active != "active"]

    def restart(self, units: Sequence[str]) -> list[str]:
        """Restart units, wait for all of them; return those that did not come back."""
        before = {unit: state.invocation for unit, state in self.states(units).items()}
        states: dict[str, UnitState] = {}
        left = list(units)
        for _ in range(_TRIES):
            self._run("restart", *left)
            states |= self._settle(left)
            # The same invocation: the request was lost with systemctl's connection, nothing was done.
            left = [unit for unit in left if states[unit].invocation == before[unit]]
            if not left:
                break
        return [unit for unit in units if unit in left or states[unit].active != "active"]

    def _settle(self, units: Sequence[str]) -> dict[str, UnitState]:
        # systemctl waits by itself, unless its connection breaks (daemon-reexec): the truth is
        # that no job is left.
        while True:
            states = self.states(units)
            if not any(state.job for state in states.values()):
                return states
            time.sleep(_RETRY)

    def _ask(self, *arguments: str) -> str:
        for _ in range(self._tries):
            done = self._systemctl(*arguments)
            if done.returncode == 0:
                return done.stdout
            time.sleep(_RETRY)
        raise SystemdError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")

    def _shown(self, units: Sequence[str], properties: Sequence[str]) -> list[str]:
        """Return a block of lines for each unit."""
        # --all: a pattern shall also find units that do not run.
        shown = self._ask("show", "--all", *units, f"--property={','.join(properties)}", "--timestamp=unix")
        return [block for block in shown.split("\n\n") if block]

    def _run(self, *arguments: str) -> tuple[int, str]:
        done = self._systemctl(*arguments)
        return done.returncode, done.stderr.strip()

    def _systemctl(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["systemctl", *self._scope, "--no-ask-password", "--no-pager", *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def _values(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if line)


def _state(values: dict[str, str]) -> UnitState:
    return UnitState(
        active=values.get("ActiveState", ""),
        sub=values.get("SubState", ""),
        result=values.get("Result", ""),
        invocation=values.get("InvocationID", ""),
        started=values.get("ActiveEnterTimestampMonotonic", "0") not in ("", "0"),
        job=int(values.get("Job") or 0),
        pid=int(values.get("MainPID") or 0),
        load=values.get("LoadState", "loaded"),
        restart=values.get("Restart", ""),
        since=float(values.get("StateChangeTimestamp", "").removeprefix("@") or 0),
    )
