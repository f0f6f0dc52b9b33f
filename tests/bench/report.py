"""Figures, tables and verdicts as text for the terminal."""

import math

from tests.bench import textplot
from tests.bench.results import Column, Figure, Goal, Result, Row, Table


def number(value: float, digits: int) -> str:
    """A number for a table."""
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def cell(figure: Figure | None, column: Column) -> str:
    """The median, or the sum of counts."""
    if figure is None:
        return ""
    return number(figure.total if column.total else figure.median, column.digits)


def spread(figure: Figure, digits: int) -> str:
    """From the lowest to the highest run."""
    return f"{number(figure.low, digits)} … {number(figure.high, digits)}"


def text_table(table: Table) -> str:
    """For the terminal: each figure with its spread in brackets."""
    header = ["", *(column.heading for column in table.columns)]
    rows = [header]
    for row in table.rows:
        rows.append([row.name, *(cell_with_spread(row, column) for column in table.columns)])
    widths = [max(len(line[index]) for line in rows) for index in range(len(header))]
    lines = [table.title]
    for line in rows:
        cells = [line[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, *([table.note] if table.note else [])])


def cell_with_spread(row: Row, column: Column) -> str:
    """`median [low … high]`."""
    figure = row.cells.get(column.key)
    text = cell(figure, column)
    if figure is None or column.total or len(figure.values) < 2:
        return text
    return f"{text} [{spread(figure, column.digits)}]"


def goal_value(goal: Goal) -> str:
    """What was measured, with its spread."""
    text = f"{number(goal.value, goal.digits)}{goal.unit}"
    if goal.total or len(goal.figure.values) < 2:
        return text
    return f"{text} [{spread(goal.figure, goal.digits)}]"


def goal_limit(goal: Goal) -> str:
    """What it must be."""
    return f"{goal.relation} {goal.limit:,g}{goal.unit}"


def goal_line(goal: Goal) -> str:
    """What had to be reached, what was, and the verdict."""
    verdict = "reached" if goal.reached else "NOT REACHED"
    return f"{verdict:<12} {goal.what}: {goal_value(goal)}, must be {goal_limit(goal)}"


def terminal(result: Result) -> str:
    """Everything about a part."""
    parts = [text_table(table) for table in result.outcome.tables]
    parts.append(textplot.plot(result.outcome.curves))
    parts.append("\n".join(goal_line(goal) for goal in result.outcome.goals))
    return "\n\n".join(part for part in parts if part)
