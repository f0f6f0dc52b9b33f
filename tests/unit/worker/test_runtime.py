"""Which of a unit's runtime directories is the app's."""

from pathlib import Path

from svc.worker.runtime import runtime_directory


def test_the_app_has_one_among_others() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/mine:/run/svc/site:/run/svc/site2"}
    assert runtime_directory("site", environ) == Path("/run/svc/site")


def test_another_app_s_is_not_taken() -> None:
    assert runtime_directory("site", {"RUNTIME_DIRECTORY": "/run/svc/mysite:/run/svc/other"}) is None


def test_a_worker_started_by_hand_has_none() -> None:
    assert runtime_directory("site", {}) is None
