"""Each scenario of tests/soak: what clients saw is judged there, and `make soak` makes a table of it."""

import pytest

from tests.soak import scenarios
from tests.system.conftest import App

CHOSEN = [
    *(pytest.param(one, id=one.__name__) for one in scenarios.SHORT),
    *(
        pytest.param(one, id=one.__name__, marks=pytest.mark.long)
        for one in (*scenarios.LONG, *scenarios.SOAK)
    ),
]


@pytest.mark.parametrize("scenario", CHOSEN)
def test_a_fault_costs_what_was_in_flight_and_nothing_else(app: App, scenario: scenarios.Scenario) -> None:
    row = scenario(app)
    print(row)
    assert row.good
