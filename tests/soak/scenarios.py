"""All scenarios, in the order of the table."""

from collections.abc import Callable

from tests.soak import killed
from tests.soak.trial import Row
from tests.system.conftest import App

Scenario = Callable[[App], Row]

SHORT: tuple[Scenario, ...] = (
    killed.two_at_once,
    killed.all_at_once,
    killed.exits_at_random,
)
LONG: tuple[Scenario, ...] = (killed.exits_at_random_for_a_minute,)
