"""The results of `make soak`: rows, and on what they were seen; JSON, and a table in the README."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import readme
from tests.soak.trial import Row

PATH = Path(__file__).parent / "results" / "faults.json"
MARK = "faults"


@dataclass(frozen=True, slots=True)
class Results:
    """All rows of one run."""

    date: str
    cpus: int
    kernel: str
    systemd: str
    svc: str
    rows: tuple[Row, ...]
    python: str = platform.python_version()


def write(results: Results, path: Path = PATH) -> None:
    """Keep them."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(results), ensure_ascii=False, indent=1) + "\n", "utf-8")


def read(path: Path = PATH) -> Results:
    """Read what write() wrote."""
    data = json.loads(path.read_text("utf-8"))
    return Results(**(data | {"rows": tuple(Row(**row) for row in data["rows"])}))


def section(results: Results) -> str:
    """The table, and how it came about."""
    bad = sum(not row.good for row in results.rows)
    said = "In none did more fail." if not bad else f"**In {bad} of them more failed.**"
    return f"""\
Written by `make soak`, from [tests/soak/results](tests/soak/results). Each line is a fault under a load
of constant rate, from a client that records every request. "Allowed" is the most that may fail: the
connections that killed workers had accepted, counted at the moment of the kill (those of kept-alive clients
also while they are idle); where systemd killed after the drain, all requests under way just then.
{said} {results.cpus} CPUs, Linux {results.kernel}, systemd {results.systemd}, Python {results.python},
svc {results.svc}, {results.date}.

{table(results.rows)}"""


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| Fault | Requests | Failed | Allowed | Longest, s | Came back to |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {row.name} | {row.requests:,} | {row.failed:,} | {row.allowed:,} | {row.longest:.2f} "
        f"| {row.came_back} |"
        for row in rows
    ]
    return "\n".join(lines)


def update(results: Results, path: Path = readme.README) -> None:
    """Write the table between its markers. Raises readme.NoPlaceError."""
    readme.put(MARK, section(results), path)
