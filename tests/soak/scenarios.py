"""All scenarios, by name, in the order of the table."""

from collections.abc import Callable, Iterable
from functools import partial

from tests.soak import deploys, hung, killed, leaks, managers, queue, resources, rollouts, steady
from tests.soak.trial import Row
from tests.system.conftest import App

Scenario = Callable[[App], Row]


def _named(*scenarios: Scenario) -> dict[str, Scenario]:
    """Scenarios by their module and function."""
    return {_name(one.__module__, one.__name__): one for one in scenarios}


def _each(scenario: Callable[[App, str], Row], kinds: Iterable[str]) -> dict[str, Scenario]:
    """One scenario for each kind of a fault."""
    return {
        _name(scenario.__module__, f"{scenario.__name__} {kind}"): partial(_of_kind, scenario, kind)
        for kind in kinds
    }


def _of_kind(scenario: Callable[[App, str], Row], kind: str, app: App) -> Row:
    return scenario(app, kind)


def _name(module: str, rest: str) -> str:
    return f"{module.rpartition('.')[2]} {rest}".replace(" ", "_")


TABLE: dict[str, Scenario] = {
    **_named(killed.one, killed.two_at_once, killed.all_at_once, killed.exits_at_random_for_a_minute),
    **_each(leaks.until_its_limit, leaks.LEAKING),
    **_named(leaks.until_memory_max, resources.descriptors, resources.run_is_full),
    **_named(hung.event_loop, hung.thread_of_wsgi, hung.request_in_a_thread),
    **_named(hung.start_up, hung.shutdown, hung.ignores_sigterm),
    **_each(deploys.broken, deploys.KINDS),
    **_named(deploys.only_the_third_slot),
    **_each(rollouts.killed, rollouts.STEPS),
    **_each(rollouts.stopped, rollouts.MIDDLE),
    **_each(rollouts.restarted, rollouts.MIDDLE),
    **_each(rollouts.at_once, rollouts.FIRST),
    **_named(managers.reload_for_half_a_minute, managers.reexec, managers.reexec_in_a_rollout),
    **_named(managers.journald, managers.bus, queue.overflow),
}

# Not in `make test`, which has no time for them.
LONG: frozenset[Scenario] = frozenset(
    (
        killed.exits_at_random_for_a_minute,
        hung.thread_of_wsgi,
        hung.request_in_a_thread,
        hung.shutdown,
        hung.ignores_sigterm,
        managers.reload_for_half_a_minute,
        managers.journald,
    )
)
# What `make test` has in place of some of these.
BRIEF = _named(killed.exits_at_random, managers.reload_for_a_moment)
# What `make soak` runs for as long as it is told.
SOAK = _named(steady.short)
