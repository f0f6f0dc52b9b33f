"""The order of a rollout's steps, in a world of fakes. The real systemd judges it in tests/system."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from svc.app import App, Family, Listen, Reload
from svc.rollout.brake import Brake
from svc.rollout.events import Event
from svc.rollout.plan import batch_size, plan
from svc.rollout.steps import RolloutAborted, RolloutFailed, roll_out
from svc.rollout.systemd import UnitState
from svc.units.host import Host

HOST = Host(cpus=4)
NEVER = UnitState("inactive", "dead", "success", "", started=False, job=0)
STOPPED = UnitState("inactive", "dead", "success", "", started=True, job=0)
RUNNING = UnitState("active", "running", "success", "1", started=True, job=0, pid=1)
CURRENT = replace(RUNNING, pid=2)
FAILED = replace(STOPPED, active="failed", sub="failed", result="exit-code", restart="always")
MASKED = replace(NEVER, load="masked")
CRASHING = UnitState("activating", "auto-restart", "exit-code", "1", started=True, job=0)


class FakeWorld:
    """Remembers what it was asked to do; `broken` units never become ready."""

    def __init__(self, states: dict[str, UnitState], broken: Sequence[str] = ()) -> None:
        self.found = states
        self.broken = broken
        self.steps: list[tuple[str, ...]] = []

    def generation(self, pid: int) -> str | None:
        return f"{pid}-abc" if pid else None

    def loaded(self, pattern: str) -> dict[str, UnitState]:
        assert pattern == "app@*.service"
        return self.found

    def start(self, units: Sequence[str]) -> list[str]:
        return self._do("start", units)

    def restart(self, units: Sequence[str]) -> list[str]:
        return self._do("restart", units)

    def stop(self, units: Sequence[str]) -> None:
        self._do("stop", units)

    def _do(self, verb: str, units: Sequence[str]) -> list[str]:
        self.steps.append((verb, *(unit.removeprefix("app@").removesuffix(".service") for unit in units)))
        return [unit for unit in units if unit in self.broken]


def app(**changes: object) -> App:
    listen = (Listen(Family.INET, "127.0.0.1", 8000),)
    return App(name="app", source=Path("/etc/svc/app.toml"), listen=listen, app="a:b", **changes)  # type: ignore[arg-type]


def world(*states: UnitState, broken: Sequence[str] = ()) -> FakeWorld:
    return FakeWorld({f"app@{slot}.service": state for slot, state in enumerate(states)}, broken)


def run(this: App, fake: FakeWorld, brake: Brake | None = None) -> list[tuple[str, ...]]:
    roll_out(this, HOST, fake, "2-abc", lambda _event: None, brake or Brake(), lambda: None)
    return fake.steps


def test_surge_first_then_one_after_the_other_then_no_surge() -> None:
    steps = run(app(workers=3), world(RUNNING, RUNNING, RUNNING))
    assert steps == [
        ("start", "surge"),
        ("restart", "0"),
        ("restart", "1"),
        ("restart", "2"),
        ("stop", "surge"),
    ]


def test_a_broken_version_changes_nothing() -> None:
    fake = world(RUNNING, RUNNING, broken=["app@surge.service"])
    with pytest.raises(RolloutFailed, match="nothing has changed") as failure:
        run(app(workers=2), fake)
    assert failure.value.units == ("app@surge.service",)
    assert fake.steps == [("start", "surge"), ("stop", "surge")]


def test_a_slot_that_does_not_come_back_ends_the_rollout() -> None:
    fake = world(RUNNING, RUNNING, RUNNING, broken=["app@1.service"])
    with pytest.raises(RolloutFailed, match="1 of 3 workers run the new version"):
        run(app(workers=3), fake)
    assert fake.steps[-2:] == [("restart", "1"), ("stop", "surge")]


class Pulling(FakeWorld):
    """Pulls the brake while it does one of its steps."""

    def __init__(self, brake: Brake, at: tuple[str, ...], *states: UnitState) -> None:
        super().__init__({f"app@{slot}.service": state for slot, state in enumerate(states)})
        self.brake = brake
        self.at = at

    def _do(self, verb: str, units: Sequence[str]) -> list[str]:
        failed = super()._do(verb, units)
        if self.steps[-1] == self.at:
            self.brake.pull()
        return failed


def test_aborted_while_the_surge_worker_starts_it_ends_at_once() -> None:
    brake = Brake()
    fake = Pulling(brake, ("start", "surge"), RUNNING, RUNNING)
    with pytest.raises(RolloutAborted, match="aborted; nothing has changed"):
        run(app(workers=2), fake, brake)
    assert fake.steps == [("start", "surge"), ("stop", "surge")]


def test_aborted_during_a_batch_it_ends_after_that() -> None:
    brake = Brake()
    fake = Pulling(brake, ("restart", "1"), RUNNING, RUNNING, RUNNING)
    with pytest.raises(RolloutAborted, match="aborted; 2 of 3 workers run the new version") as error:
        run(app(workers=3), fake, brake)
    assert (error.value.done, error.value.total) == (2, 3)
    assert fake.steps[-2:] == [("restart", "1"), ("stop", "surge")]


def test_aborted_before_it_began() -> None:
    brake = Brake()
    brake.pull()
    for surge in (0, 1):
        fake = world(RUNNING)
        with pytest.raises(RolloutAborted, match="nothing has changed"):
            run(app(workers=1, reload=Reload(surge=surge)), fake, brake)
        assert ("restart", "0") not in fake.steps


def test_a_batch_restarts_together() -> None:
    steps = run(app(workers=4, reload=Reload(surge=0, batch="50%")), world(*[RUNNING] * 4))
    assert steps == [("restart", "0", "1"), ("restart", "2", "3")]


def test_a_stopped_slot_stays_stopped_and_a_crashing_one_is_replaced() -> None:
    steps = run(app(workers=3, reload=Reload(surge=0)), world(RUNNING, STOPPED, CRASHING))
    assert steps == [("restart", "0"), ("restart", "2")]


@pytest.mark.parametrize(
    "state", [FAILED, replace(FAILED, result="timeout"), MASKED, replace(STOPPED, load="masked")]
)
def test_one_that_ended_badly_or_is_masked_stays_stopped_too(state: UnitState) -> None:
    assert run(app(workers=2, reload=Reload(surge=0)), world(RUNNING, state)) == [("restart", "0")]


@pytest.mark.parametrize(
    "state",
    [
        replace(FAILED, result="start-limit-hit"),
        replace(FAILED, result="resources"),
        replace(FAILED, restart="no"),
    ],
)
def test_one_that_systemd_could_not_start_is_tried_again(state: UnitState) -> None:
    steps = run(app(workers=2, reload=Reload(surge=0)), world(RUNNING, state))
    assert steps == [("restart", "0"), ("restart", "1")]


def test_one_that_is_masked_and_runs_is_told_of_before_anything_changes() -> None:
    fake = world(RUNNING, replace(RUNNING, load="masked"))
    with pytest.raises(
        RolloutFailed, match=r"nothing has changed: app@1\.service is masked, but runs"
    ) as error:
        run(app(workers=2), fake)
    assert (error.value.done, fake.steps) == (0, [])


class Stopping(FakeWorld):
    """A world in which an operator stops a worker while the surge worker starts."""

    def start(self, units: Sequence[str]) -> list[str]:
        self.found["app@1.service"] = STOPPED
        return super().start(units)


def test_one_that_is_stopped_meanwhile_stays_stopped() -> None:
    said: list[Event] = []
    fake = Stopping({f"app@{slot}.service": RUNNING for slot in range(3)})
    total = roll_out(app(workers=3), HOST, fake, "2-abc", said.append, Brake(), lambda: None)
    assert fake.steps == [("start", "surge"), ("restart", "0"), ("restart", "2"), ("stop", "surge")]
    assert (said[-1].text, said[-1].total, total) == ("app@2.service ready (2 of 2)", 2, 2)
    assert "app@1.service stopped by hand, and stays so" in [event.text for event in said]


def test_a_slot_that_the_app_did_not_have_was_not_stopped_by_hand() -> None:
    fake, had = world(RUNNING, STOPPED), ["app@0.service"]
    quick = app(workers=2, reload=Reload(surge=0))
    roll_out(quick, HOST, fake, "2-abc", lambda _event: None, Brake(), lambda: None, had)
    assert fake.steps == [("restart", "0"), ("start", "1")]


def test_an_app_that_grew_starts_the_new_slots_and_one_that_shrank_stops_the_surplus() -> None:
    assert run(app(workers=4, reload=Reload(surge=0, batch=2)), world(RUNNING, NEVER, NEVER, NEVER)) == [
        ("restart", "0"),
        ("start", "1", "2"),
        ("start", "3"),
    ]
    assert run(app(workers=1, reload=Reload(surge=0)), world(RUNNING, RUNNING, STOPPED)) == [
        ("restart", "0"),
        ("stop", "1"),
    ]


def test_surge_workers_that_were_left_behind_are_stopped_first() -> None:
    fake = world(RUNNING)
    fake.found["app@surge-2.service"] = CRASHING
    assert run(app(workers=1), fake)[:2] == [("stop", "surge-2"), ("start", "surge")]


def test_several_surge_workers_start_and_stop_together_but_no_more_than_there_are_slots() -> None:
    steps = run(app(workers=2, reload=Reload(surge=3)), world(RUNNING, RUNNING))
    assert (steps[0], steps[-1]) == (("start", "surge", "surge-2"), ("stop", "surge", "surge-2"))


def test_who_runs_the_new_generation_is_left_alone() -> None:
    said: list[Event] = []
    fake = world(CURRENT, CRASHING, replace(CURRENT, active="activating"), RUNNING, CURRENT, STOPPED)
    total = roll_out(
        app(workers=6, reload=Reload(batch=2)), HOST, fake, "2-abc", said.append, Brake(), lambda: None
    )
    assert fake.steps == [("start", "surge"), ("restart", "1", "2"), ("restart", "3"), ("stop", "surge")]
    assert said[-1].text == "app@3.service ready (5 of 5)"
    assert (said[-1].done, said[-1].total, total) == (5, 5, 5)
    assert said[0].units == ("app@5.service",)  # which was stopped by hand


def test_nothing_is_left_to_do() -> None:
    assert run(app(workers=2), world(CURRENT, CURRENT)) == []


def test_a_rollout_of_64_slots_at_a_quarter_takes_four_batches() -> None:
    todo = plan(app(workers=64, reload=Reload(batch="25%")), HOST, world(*[RUNNING] * 64), "2-abc")
    assert [len(batch) for batch in todo.batches] == [16] * 4


@pytest.mark.parametrize(
    ("batch", "slots", "expected"),
    [(1, 8, 1), (3, 8, 3), (9, 8, 8), ("25%", 64, 16), ("1%", 8, 1), ("100%", 8, 8)],
)
def test_batch_size(batch: int | str, slots: int, expected: int) -> None:
    assert batch_size(batch, slots) == expected
