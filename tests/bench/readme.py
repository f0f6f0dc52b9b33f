"""The section "Performance" of the README: written from tests/bench/results/*.json, never by hand."""

from collections.abc import Sequence
from pathlib import Path

from tests.bench import report, textplot
from tests.bench.results import FOLDER, Goal, Result, Table, read

README = Path(__file__).resolve().parents[2] / "README.md"
MARK = "bench"


class NoPlaceError(Exception):
    """The README has no place for the section."""


def stored(parts: Sequence[str], folder: Path = FOLDER) -> list[Result]:
    """The results that are there, in the order of `parts`."""
    return [read(path) for part in parts if (path := folder / f"{part}.json").is_file()]


def update(results: Sequence[Result], path: Path = README) -> None:
    """Write the section between its markers. Raises NoPlaceError."""
    put(MARK, section(results), path)


def put(mark: str, section: str, path: Path = README) -> None:
    """Write a section between its markers, <!-- mark --> and <!-- /mark -->. Raises NoPlaceError."""
    begins, ends = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(f"{begins}\n")
    _, end, after = rest.partition(ends)
    if not begin or not end:
        raise NoPlaceError(f"{path.name} has no {begins} and {ends}; put them where the section shall be")
    path.write_text(f"{before}{begin}{section}\n{end}{after}", "utf-8")


def section(results: Sequence[Result]) -> str:
    """All parts."""
    if not results:
        return "Not measured yet: `make bench`."
    goals = [goal for result in results for goal in result.outcome.goals]
    reached = sum(goal.reached for goal in goals)
    newest = max(results, key=lambda result: result.date)
    least = min(result.runs for result in results)
    parts = [
        "Written by `make bench`, from [tests/bench/results](tests/bench/results). Medians of "
        f"{least} or more interleaved runs, lowest and highest in brackets; failures are those of all runs "
        f"together. Where a part does not say otherwise: {conditions(newest)}. Absolute figures are the "
        "machine's, ratios carry over.",
        f"Of {len(goals)} limits that svc set itself, {reached} are reached; what is not says so below.",
    ]
    return "\n\n".join([*parts, *(_part(result, newest) for result in results)])


def machine(result: Result) -> str:
    """On what it was measured."""
    found = result.machine
    return f"{found['CPUs']} CPUs ({found['CPU']}), Linux {found['kernel']}"


def conditions(result: Result) -> str:
    """On what, when and with what it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return f"{machine(result)}, {result.date}, {versions}"


def _part(result: Result, newest: Result) -> str:
    parts = [f"### {result.title}"]
    if machine(result) != machine(newest):
        parts.append(f"On {machine(result)}, {result.date}.")
    parts += [markdown_table(table) for table in result.outcome.tables]
    if result.outcome.curves:
        parts.append(f"```\n{textplot.plot(result.outcome.curves)}\n```")
        parts.append(f"![{result.title}](tests/bench/results/{result.part}.png)")
    if result.outcome.goals:
        parts.append(markdown_goals(result.outcome.goals))
    return "\n\n".join(parts)


def markdown_table(table: Table) -> str:
    """One table; the note follows it."""
    lines = [_line(["", *(column.heading for column in table.columns)])]
    lines.append(_line(["---", *("---:" for _ in table.columns)]))
    for row in table.rows:
        lines.append(_line([row.name, *(report.cell_with_spread(row, column) for column in table.columns)]))
    return "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def markdown_goals(goals: Sequence[Goal]) -> str:
    """What had to be reached, and what was."""
    lines = [_line(["Limit", "Measured", "Must be", ""]), _line(["---", "---:", "---:", "---"])]
    for goal in goals:
        verdict = "reached" if goal.reached else "**not reached**"
        lines.append(_line([goal.what, report.goal_value(goal), report.goal_limit(goal), verdict]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
