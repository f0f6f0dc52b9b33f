"""Each scenario of tests/soak: what clients saw is judged there, and `make soak` makes a table of it."""

import pytest

from tests.soak.scenarios import BRIEF, LONG, SOAK, TABLE, Scenario
from tests.system.conftest import App

LONG_ONES = {*LONG, *SOAK.values()}
CHOSEN = [
    pytest.param(one, id=name, marks=[pytest.mark.long] if one in LONG_ONES else [])
    for name, one in (TABLE | BRIEF | SOAK).items()
]


@pytest.mark.parametrize("scenario", CHOSEN)
def test_a_fault_costs_what_was_in_flight_and_nothing_else(app: App, scenario: Scenario) -> None:
    row = scenario(app)
    print(row)
    assert row.good
