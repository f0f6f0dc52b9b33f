"""The results of one part: figures with their spread, tables, what must be reached; as JSON."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """One measured thing: a value of each run. Its median stands for it; low to high is the spread."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one; NaN when there is none."""
        return statistics.median(self.values) if self.values else math.nan

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values, default=math.nan)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values, default=math.nan)

    @property
    def total(self) -> float:
        """The sum over all runs, for counts."""
        return math.fsum(self.values)

    def over(self, other: "Figure") -> "Figure":
        """Run by run, this divided by `other`: what both had in one run cancels out."""
        pairs = zip(self.values, other.values, strict=False)
        return Figure(tuple(mine / theirs for mine, theirs in pairs if theirs))

    def minus(self, other: "Figure") -> "Figure":
        """Run by run, this less `other`."""
        pairs = zip(self.values, other.values, strict=False)
        return Figure(tuple(mine - theirs for mine, theirs in pairs))


@dataclass(frozen=True)
class Column:
    """A column of a table: the key of its cells, its heading with the unit, digits after the point."""

    key: str
    heading: str
    digits: int = 0
    total: bool = False  # a count of failures: every run counts, a median would hide them


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    name: str
    cells: dict[str, Figure]


@dataclass(frozen=True)
class Table:
    """A table; `note` says how it was measured."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Goal:
    """Something that must be reached: a figure, `relation` (one of ≥ and ≤) and the limit."""

    what: str
    figure: Figure
    relation: str
    limit: float
    digits: int = 2
    unit: str = ""
    total: bool = False

    @property
    def value(self) -> float:
        """What is compared: the median of the runs, or their sum."""
        return self.figure.total if self.total else self.figure.median

    @property
    def reached(self) -> bool:
        """Whether it is; never when nothing was measured."""
        if not self.figure.values or math.isnan(self.value):
            return False
        return self.value >= self.limit if self.relation == "≥" else self.value <= self.limit


@dataclass(frozen=True)
class Curve:
    """A distribution of latencies for a plot: (share of requests in percent, milliseconds)."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Outcome:
    """What a part found out."""

    tables: tuple[Table, ...]
    goals: tuple[Goal, ...]
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class Result:
    """An outcome, and how it came about."""

    part: str
    title: str
    runs: int
    seconds: float
    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    outcome: Outcome = field(default_factory=lambda: Outcome((), ()))


class Samples:
    """Collects a value a run, under (row, column); keeps the order in which they were first seen."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}

    def add(self, row: str, column: str, value: float) -> None:
        """Note one value."""
        self._values.setdefault((row, column), []).append(value)

    def figure(self, row: str, column: str) -> Figure:
        """All values of a cell; an empty figure when there is none."""
        return Figure(tuple(self._values.get((row, column), ())))

    def rows(self, columns: Sequence[Column], names: Sequence[str] = ()) -> tuple[Row, ...]:
        """The rows, all that have a value in one of `columns`, or those named."""
        keys = {column.key for column in columns}
        seen = dict.fromkeys(row for row, key in self._values if key in keys)
        wanted = [name for name in names if name in seen] if names else list(seen)
        return tuple(
            Row(name, {key: self.figure(name, key) for key in keys if (name, key) in self._values})
            for name in wanted
        )

    def table(
        self, title: str, columns: Sequence[Column], note: str = "", names: Sequence[str] = ()
    ) -> Table:
        """A table of what was collected."""
        return Table(title, tuple(columns), self.rows(columns, names), note)


def write(result: Result, folder: Path = FOLDER) -> Path:
    """Write results/PART.json; returns its path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{result.part}.json"
    path.write_text(json.dumps(asdict(result), ensure_ascii=False, indent=1) + "\n", "utf-8")
    return path


def read(path: Path) -> Result:
    """Read what write() wrote."""
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    outcome = data.pop("outcome")
    tables = tuple(_table(table) for table in outcome["tables"])
    goals = tuple(Goal(**(goal | {"figure": _figure(goal["figure"])})) for goal in outcome["goals"])
    curves = tuple(Curve(c["name"], tuple((x, y) for x, y in c["points"])) for c in outcome["curves"])
    return Result(**data, outcome=Outcome(tables, goals, curves))


def _figure(data: dict[str, Any]) -> Figure:
    return Figure(tuple(data["values"]))


def _table(data: dict[str, Any]) -> Table:
    columns = tuple(Column(**column) for column in data["columns"])
    make: Callable[[dict[str, Any]], Row] = lambda row: Row(  # noqa: E731
        row["name"], {key: _figure(cell) for key, cell in row["cells"].items()}
    )
    return Table(data["title"], columns, tuple(make(row) for row in data["rows"]), data["note"])
