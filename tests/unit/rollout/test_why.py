"""Why a worker did not start, from what the journal has."""

from typing import Any

import pytest

from svc.rollout.journal import entries, last_lines, reason


def said(message: str, priority: int = 6, **fields: str) -> dict[str, Any]:
    return {"MESSAGE": message, "PRIORITY": str(priority), **fields}


FAILED = said("Failed with result 'exit-code'.", 4, UNIT_RESULT="exit-code")
TIMEOUT = said("Failed with result 'timeout'.", 4, UNIT_RESULT="timeout")
SPAWN = "641257651c1b4ec9a8624d7a40a9e1e7"
NO_PROGRAM = said("Failed to locate executable /srv/python", 3, MESSAGE_ID=SPAWN)
STEP = said("Failed at step EXEC spawning /srv/python", 3, MESSAGE_ID=SPAWN)
JOB = said("Failed to start app@0.service.", 3, MESSAGE_ID="be02cf6855d2428ba40df7e9d022f03d")


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        ([], "see its journal"),
        ([said("hello"), FAILED, JOB], "it ended with exit-code"),
        ([said("first", 3), said("a\nlast", 2), said("hello", 4), FAILED, JOB], "last"),
        ([NO_PROGRAM, STEP, FAILED, JOB], "Failed to locate executable /srv/python"),
        ([said("no folder", 3), STEP, FAILED, JOB], "no folder"),
        ([said("hello"), TIMEOUT, JOB], "not ready within its time"),
        ([said("no database", 3), TIMEOUT, JOB], "not ready within its time; no database"),
        # What comes after it was tried again does not say why it failed.
        ([TIMEOUT, FAILED], "not ready within its time"),
    ],
)
def test_the_last_error_or_else_how_systemd_judged_it(logged: list[dict[str, Any]], expected: str) -> None:
    assert reason(logged) == expected


def test_the_last_thirty_lines() -> None:
    logged = [said(f"{number}\nmore") for number in range(20)]
    assert last_lines(logged)[0] == "5"
    assert len(last_lines(logged)) == 30


def test_a_host_without_a_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert entries("app@0.service", 0.0, user_scope=False) == []
