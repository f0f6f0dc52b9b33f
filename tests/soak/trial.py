"""A trial: an app under constant load while something breaks, and the row of figures that it ends with."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from tests.client import LoadProcess, load
from tests.measure import Record, Result
from tests.soak import workers
from tests.soak.workers import Kill
from tests.system.conftest import App

RATE = 200  # requests a second, on a schedule: far from saturation, so what is slow is the fault's doing
CONNECTIONS = 20
SEEN_SECONDS = 0.1  # until systemd has seen that a process is gone


@dataclass(frozen=True, slots=True)
class Row:
    """What clients saw of one scenario. `longest` is in seconds.

    `allowed` is how many requests may have failed: at most what killed workers had accepted.
    """

    name: str
    requests: int
    failed: int
    allowed: int
    longest: float
    came_back: str

    @property
    def good(self) -> bool:
        """Whether nothing was lost that need not have been."""
        return self.requests > 0 and self.failed <= self.allowed


@dataclass(slots=True)
class Trial:
    """Load on a started app. `clients` is the load, `kill` kills workers, `row` ends it and judges.

    The load is also the clock: requests come on a schedule, so `pass_time` counts them.
    """

    app: App
    path: str = ""
    rate: int = RATE
    keep_alive: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    _clients: LoadProcess | None = None

    def __enter__(self) -> Self:
        options = {"connections": CONNECTIONS, "rate": self.rate, "keep_alive": self.keep_alive}
        self._clients = load(self.app.url + self.path, **(options | self.options)).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.clients.stop()

    @property
    def clients(self) -> LoadProcess:
        """The load."""
        assert self._clients is not None
        return self._clients

    def pass_time(self, seconds: float) -> None:
        """Return when the clients have had the answers of so many seconds."""
        self.clients.wait(round(self.rate * seconds))

    def kill(self, *inner: int) -> None:
        """SIGKILL workers, all at once; they are named by the process ids that the machine gives them."""
        self.kills.append(workers.kill(workers.on_host(self.app.machine, inner), self.app.port))

    def ended(self, unit: str) -> None:
        """Allow what was in flight when systemd killed a worker, which is stopped by now."""
        self.ends.append(int(self.app.show(unit, "ExecMainExitTimestampMonotonic")) / 1e6)

    def wait_workers(self, count: int, replaced: Collection[int] = ()) -> None:
        """Wait until so many slots have a worker that is ready, and none of those in `replaced`."""
        for slot in range(count):
            unit = f"app@{slot}.service"
            self.app.machine.wait_until(unit, "MainPID", lambda pid: pid != "0" and int(pid) not in replaced)
            self.app.machine.wait_until(unit, "ActiveState", lambda state: state == "active")

    def row(self, name: str, came_back: str, allowed: int = 0) -> Row:
        """End the load and judge: raise AssertionError, with the client's table, when too much was lost."""
        seen = self.clients.stop()
        kills = [*self.kills, *(_end(seen, moment) for moment in self.ends)]
        allowed += sum(kill.held for kill in kills)
        row = Row(name, seen.requests, seen.failed, allowed, seen.figures().longest, came_back)
        assert row.good, f"{row}\n{seen.table()}"
        if kills:
            strays = [record for record in seen.failures if not _in_any(record, kills)]
            assert not strays, f"{strays[:5]} failed while no worker was killed\n{seen.table()}"
        return row


def _end(seen: Result, moment: float) -> Kill:
    """A kill that nobody could count: what was in flight just before systemd saw that the worker is gone."""
    kill = Kill(moment - SEEN_SECONDS, moment, 0)
    return replace(kill, held=sum(_in_any(record, [kill]) for record in seen.records))


def _in_any(record: Record, kills: Iterable[Kill]) -> bool:
    end = record.start + record.latency
    return any(record.start <= kill.ended and end >= kill.began for kill in kills)


def late(seen: Result, seconds: float) -> int:
    """How many answers took longer."""
    return sum(not record.failed and record.latency > seconds for record in seen.records)
