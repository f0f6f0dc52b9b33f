"""All scenarios, in the order of the table."""

from collections.abc import Callable

from tests.soak import hung, killed, managers, queue, resources, steady
from tests.soak.trial import Row
from tests.system.conftest import App

Scenario = Callable[[App], Row]

# For `make test`: together within a minute on a machine that has nothing else to do.
SHORT: tuple[Scenario, ...] = (
    killed.two_at_once,
    killed.all_at_once,
    killed.exits_at_random,
    resources.descriptors,
    resources.run_is_full,
    resources.memory,
    hung.start_up,
    managers.reexec,
    managers.bus,
    queue.overflow,
)
LONG: tuple[Scenario, ...] = (
    killed.exits_at_random_for_a_minute,
    hung.thread_of_wsgi,
    hung.request_in_a_thread,
    hung.shutdown,
    hung.ignores_sigterm,
    managers.journald,
)
# What `make soak` runs for as long as it is told.
SOAK: tuple[Scenario, ...] = (steady.short,)
