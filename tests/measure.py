"""What a load saw: one record for each request, and figures over them. All times are in seconds."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Record:
    """One request.

    `start` is on the clock of time.monotonic(), which all processes of a host share; in an open loop
    it is the moment that the schedule named, not the one when a connection was free. `status` is 0
    and `error` says why when no whole answer came. `connection` counts the connections of the load.
    """

    start: float
    latency: float
    status: int
    error: str
    connection: int
    body: bytes = b""

    @property
    def failed(self) -> bool:
        """No whole answer, or one that tells of a failure (4xx, 5xx)."""
        return bool(self.error)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures over some records."""

    requests: int
    failed: int
    p50: float
    p99: float
    p999: float
    longest: float


@dataclass(frozen=True)
class Result:
    """All records of a load, in the order in which they ended, and its phases: (name, start)."""

    records: list[Record]
    phases: list[tuple[str, float]]
    reconnects: int = 0
    connections: int = 0
    _figures: dict[str, Figures] = field(default_factory=dict, repr=False)

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return len(self.records)

    @property
    def failures(self) -> list[Record]:
        """The requests that failed."""
        return [record for record in self.records if record.failed]

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return len(self.failures)

    @property
    def errors(self) -> Counter[str]:
        """How often each kind of failure was seen."""
        return Counter(record.error for record in self.failures)

    @property
    def bodies(self) -> Counter[bytes]:
        """How often each answer was seen (of a load that keeps bodies)."""
        return Counter(record.body for record in self.records if not record.failed)

    def phase(self, name: str) -> list[Record]:
        """The requests that began in a phase."""
        starts = [start for _, start in self.phases]
        names = [phase for phase, _ in self.phases]
        return [r for r in self.records if names[max(0, bisect_right(starts, r.start) - 1)] == name]

    def figures(self, phase: str = "") -> Figures:
        """Figures of a phase, or of the whole load."""
        return figures(self.phase(phase) if phase else self.records)

    def table(self) -> str:
        """A line for each phase, and one for all when there are several."""
        names = list(dict.fromkeys(name for name, _ in self.phases))
        rows = [(name, self.figures(name)) for name in names]
        if len(rows) > 1:
            rows.append(("all", self.figures()))
        width = max(len(name) for name, _ in rows)
        lines = [f"{'':{width}} {'requests':>10} {'failed':>8} {'p50':>9} {'p99':>9} {'longest':>9}"]
        for name, row in rows:
            times = " ".join(f"{milliseconds(value):>9}" for value in (row.p50, row.p99, row.longest))
            lines.append(f"{name:{width}} {row.requests:>10,} {row.failed:>8,} {times}")
        lines += [f"{count:,} × {error}" for error, count in self.errors.most_common(10)]
        return "\n".join(lines)


def figures(records: Iterable[Record]) -> Figures:
    """Figures over any records. Latencies of failed requests count: a client waited for them too."""
    records = list(records)
    latencies = sorted(record.latency for record in records)
    return Figures(
        requests=len(records),
        failed=sum(record.failed for record in records),
        p50=percentile(latencies, 50),
        p99=percentile(latencies, 99),
        p999=percentile(latencies, 99.9),
        longest=latencies[-1] if latencies else math.nan,
    )


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed (nearest rank)."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def milliseconds(seconds: float) -> str:
    """A time for a table."""
    return "–" if math.isnan(seconds) else f"{seconds * 1000:.1f} ms"
