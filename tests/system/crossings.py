"""What `make test` leaves to `make test-all`: combinations of which every part is tested in another one too,
and what many workers take long for.

`make test` has to end within 20 minutes on two CPUs.
"""

import pytest

_FAULTS = "test_fault_scenarios.py::test_a_fault_costs_what_was_in_flight_and_nothing_else"

CROSSINGS = frozenset(
    (
        "test_clients.py::test_libraries[asgi on asyncio]",
        "test_clients.py::test_libraries[wsgi]",
        "test_clients.py::test_strange_clients[asgi on asyncio]",
        "test_clients.py::test_strange_clients[asgi]",
        "test_cluster_cache.py::test_sigkill_in_the_middle_of_writes",
        "test_cluster_sessions.py::test_any_worker_serves_a_login_through_reloads_and_a_crash[starlette_login]",
        "test_groups.py::test_no_request_fails_on_a_reload[per-worker-keep-alive]",
        "test_groups.py::test_no_request_fails_on_a_reload[two-fresh]",
        "test_groups.py::test_no_request_fails_on_a_reload[two-keep-alive]",
        "test_limits.py::test_lifetime[wsgi]",
        "test_limits.py::test_none_replaces_itself_during_a_rollout[asgi-0]",
        "test_limits.py::test_none_replaces_itself_during_a_rollout[asgi-1]",
        "test_limits.py::test_none_replaces_itself_during_a_rollout[wsgi-0]",
        "test_limits.py::test_requests[asgi-1-keep-alive]",
        "test_limits.py::test_requests[asgi-1-fresh]",
        "test_limits.py::test_requests[asgi-3-fresh]",
        "test_limits.py::test_requests[wsgi-1-fresh]",
        "test_limits.py::test_requests[wsgi-3-keep-alive]",
        "test_limits.py::test_requests[wsgi-3-fresh]",
        "test_reboot.py::test_an_app_is_back_after_a_reboot_in_the_middle_of_a_rollout",
        "test_rollout.py::test_a_rollout_that_was_killed_is_finished_by_the_next[no stamp]",
        "test_scaling.py::test_auto_goes_from_one_listener_to_two_and_back",
        "test_scaling.py::test_two_four_one[one listener-fresh]",
        "test_scaling.py::test_two_four_one[per-worker-fresh]",
        "test_scaling.py::test_two_four_one[per-worker-keep-alive]",
        "test_sticky_cookie.py::test_no_request_fails_on_a_reload[no cookie-fresh]",
        "test_sticky_cookie.py::test_no_request_fails_on_a_reload[no cookie-keep-alive]",
        "test_sticky_cookie.py::test_no_request_fails_on_a_reload[one worker's clients-keep-alive]",
        "test_sticky_ip.py::test_no_request_fails_on_a_reload[fresh]",
        # Those of `make soak`, which does all of them.
        f"{_FAULTS}[deploys_broken_ends_between_its_start-up_and_the_canary]",
        f"{_FAULTS}[deploys_broken_exits_at_once]",
        f"{_FAULTS}[deploys_broken_the_app_file_is_empty]",
        f"{_FAULTS}[deploys_broken_the_configuration_became_invalid]",
        f"{_FAULTS}[deploys_broken_the_disk_is_full]",
        f"{_FAULTS}[killed_two_at_once]",
        f"{_FAULTS}[leaks_until_its_limit_WSGI]",
        f"{_FAULTS}[managers_reexec]",
        f"{_FAULTS}[managers_reload_for_a_moment]",
        f"{_FAULTS}[rollouts_at_once_good]",
        f"{_FAULTS}[rollouts_killed_as_the_surge_worker_starts]",
        f"{_FAULTS}[rollouts_killed_as_the_surge_worker_stops]",
        f"{_FAULTS}[rollouts_killed_between_two_slots]",
        f"{_FAULTS}[deploys_broken_crashes_when_the_canary_is_asked]",
        f"{_FAULTS}[deploys_broken_answers_the_canary_with_500]",
        f"{_FAULTS}[deploys_broken_hangs_when_the_canary_is_asked]",
        f"{_FAULTS}[deploys_broken_is_slow_to_answer_the_canary]",
        f"{_FAULTS}[deploys_broken_syntax_error]",
        f"{_FAULTS}[deploys_broken_the_directory_is_gone]",
        f"{_FAULTS}[rollouts_killed_as_a_slot_starts]",
        f"{_FAULTS}[rollouts_killed_as_a_slot_stops]",
        f"{_FAULTS}[rollouts_killed_as_it_begins]",
        f"{_FAULTS}[rollouts_restarted_as_a_slot_stops]",
        f"{_FAULTS}[rollouts_restarted_between_two_slots]",
        f"{_FAULTS}[rollouts_stopped_as_a_slot_stops]",
        f"{_FAULTS}[rollouts_stopped_as_the_surge_worker_starts]",
    )
)


def is_one(item: pytest.Item) -> bool:
    """Whether a test is such a combination."""
    return f"{item.path.name}::{item.name}" in CROSSINGS
