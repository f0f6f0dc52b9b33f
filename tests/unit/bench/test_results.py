"""Figures, goals and their texts: a limit that is not reached must never look as if it were."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import readme, report, textplot
from tests.bench.bench import Bench, NobodyError
from tests.bench.results import Column, Curve, Figure, Goal, Outcome, Result, Samples, read, write

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=9)


def goal(values: tuple[float, ...], relation: str = "≤", limit: float = 1.0, *, total: bool = False) -> Goal:
    return Goal("svc: a thing", Figure(values), relation, limit, total=total)


@given(VALUES, st.floats(0.001, 1e6))
def test_a_goal_is_reached_by_its_median(values: list[float], limit: float) -> None:
    at_most, at_least = goal(tuple(values), "≤", limit), goal(tuple(values), "≥", limit)
    median = sorted(values)[len(values) // 2] if len(values) % 2 else at_most.value
    assert at_most.reached == (median <= limit)
    assert at_least.reached == (median >= limit)


def test_failures_of_all_runs_count() -> None:
    assert goal((0, 0, 0, 0, 1), limit=0).reached
    assert not goal((0, 0, 0, 0, 1), limit=0, total=True).reached


@pytest.mark.parametrize("values", [(), (math.nan,)])
def test_what_was_not_measured_is_not_reached(values: tuple[float, ...]) -> None:
    for relation in ("≤", "≥"):
        assert not goal(values, relation).reached


def test_a_ratio_is_taken_run_by_run() -> None:
    assert Figure((2.0, 30.0)).over(Figure((1.0, 10.0))).values == (2.0, 3.0)
    assert Figure((2.0, 30.0)).minus(Figure((1.0, 10.0))).values == (1.0, 20.0)


def result(*goals: Goal) -> Result:
    samples = Samples()
    for rate in (100.0, 120.0, 110.0):
        samples.add("svc", "rate", rate)
        samples.add("svc", "failed", 1)
    columns = (Column("rate", "requests/s"), Column("failed", "failed", total=True))
    curve = Curve("svc", ((0, 1.0), (50, 2.0), (99, 9.0), (100, 12.5)))
    outcome = Outcome((samples.table("A table", columns, "A note."),), goals, (curve,))
    machine = {"CPUs": "2", "CPU": "a processor", "kernel": "6.1"}
    return Result("part", "A part", 3, 1.5, "2026-01-01 00:00 UTC", machine, {"svc": "1"}, outcome)


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    one = result(goal((1.0, 2.0)), goal((5.0,), "≥", 4.0))
    assert read(write(one, tmp_path)) == one


def test_the_terminal_shows_medians_totals_spread_and_verdicts() -> None:
    text = report.terminal(result(goal((2.0, 3.0, 4.0)), goal((0.5,))))
    assert "110 [100 … 120]" in text
    assert "NOT REACHED  svc: a thing: 3.00 [2.00 … 4.00], must be ≤ 1" in text
    assert "reached      svc: a thing: 0.50, must be ≤ 1" in text


def test_the_readme_gets_its_section_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n", "utf-8")
    readme.update([result(goal((2.0,)), goal((0.5,)))], file)
    text = file.read_text("utf-8")
    assert text.startswith("before\n<!-- bench -->\n")
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert "Of 2 limits that svc set itself, 1 are reached" in text
    assert "| svc: a thing | 2.00 | ≤ 1 | **not reached** |" in text
    readme.update([result(goal((2.0,)), goal((0.5,)))], file)
    assert file.read_text("utf-8") == text


def test_a_part_that_was_measured_elsewhere_says_so() -> None:
    here, before = result(), result()
    there = replace(before, machine={**before.machine, "CPU": "another"}, date="2025-12-31 00:00 UTC")
    text = readme.section([here, there])
    assert "does not say otherwise: 2 CPUs (a processor), Linux 6.1, 2026-01-01 00:00 UTC, svc 1" in text
    assert text.count("On 2 CPUs (another), Linux 6.1, 2025-12-31 00:00 UTC.") == 1
    assert "On 2 CPUs (a processor)" not in text


def test_a_server_that_no_part_knows_is_refused() -> None:
    assert Bench("part", 1, ("b",)).chosen(["a", "b"]) == ["b"]
    with pytest.raises(NobodyError, match="ONLY=c: the servers of part are a; b"):
        Bench("part", 1, ("c",)).chosen(["a", "b"])


def test_a_readme_without_a_place_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("nothing\n", "utf-8")
    with pytest.raises(readme.NoPlaceError, match="<!-- bench -->"):
        readme.update([result()], file)
    assert file.read_text("utf-8") == "nothing\n"


def test_a_text_plot_names_every_curve() -> None:
    curves = (
        Curve("svc", ((0, 1.0), (99, 9.0), (100, 12.5))),
        Curve("peer", ((0, 2.0), (99, 90.0), (100, 400.0))),
    )
    plot = textplot.plot(curves)
    assert "svc" in plot
    assert "peer" in plot
