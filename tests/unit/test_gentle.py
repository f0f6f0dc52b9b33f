"""A process that is gentle until it is ready: its own two priorities, and nobody else's."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from svc import gentle

ROOT = Path(__file__).parents[2]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[int, int, int]]:
    """What is asked of the kernel: to raise a limit needs a privilege that tests do not have."""
    made: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(os, "getpriority", lambda *_: 3)
    monkeypatch.setattr(os, "setpriority", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(gentle, "_AUTOGROUP", str(tmp_path / "autogroup"))
    return made


def limited(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Let RLIMIT_NICE be so much."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))


def never(seconds: float, call: Callable[[], None]) -> None:
    """Stand for an event loop that is not to be needed."""
    raise AssertionError(f"{call} in {seconds} s")


@pytest.mark.parametrize("limit", [17, 20, resource.RLIM_INFINITY])
def test_the_nice_value_comes_back_for_the_whole_group(
    calls: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    limited(monkeypatch, limit)
    process = gentle.Gentle()
    process.begin()
    assert calls == [(os.PRIO_PROCESS, 0, 3 + gentle.STEP)]
    process.end(never)
    process.end(never)
    assert calls[1:] == [(os.PRIO_PGRP, 0, 3)]


def test_what_could_not_be_raised_again_is_not_lowered(
    calls: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 16)
    process = gentle.Gentle()
    process.begin()
    process.end(never)
    assert calls == []


def test_a_process_in_the_session_of_others_changes_nothing(
    calls: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 40)
    monkeypatch.setattr(os, "getsid", lambda _: os.getppid())
    process = gentle.Gentle()
    process.begin()
    process.end(never)
    assert calls == []
    assert not Path(gentle._AUTOGROUP).exists()


def test_the_autogroup_is_raised_later_when_the_kernel_takes_no_more_writes(
    calls: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limited(monkeypatch, 20)
    process = gentle.Gentle()
    process.begin()
    group = Path(gentle._AUTOGROUP)
    assert group.read_text() == str(gentle.STEP)
    monkeypatch.setattr(gentle, "_AUTOGROUP", str(tmp_path / "no" / "folder"))
    waiting: list[tuple[float, Callable[[], None]]] = []
    process.end(lambda *later: waiting.append(later))
    monkeypatch.setattr(gentle, "_AUTOGROUP", str(group))
    ((seconds, again),) = waiting
    assert seconds == gentle.RETRY_SECONDS
    again()
    assert group.read_text() == "0"
    assert len(waiting) == 1
    assert [nice for _, _, nice in calls] == [3 + gentle.STEP, 3]


def printed(script: str, *, session: bool) -> str:
    """What a Python script prints, as a process with a session of its own or without."""
    return subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        start_new_session=session,
    ).stdout


REAL = """
import os, time
from svc import gentle

def shown():
    try:
        return open("/proc/self/autogroup").read().split()[-1]
    except OSError:
        return "none"

def until(call, wanted):
    while call() or shown() not in (wanted, "none"):
        time.sleep(0.02)  # the kernel takes ten writes a second

until(gentle.process.begin, str(gentle.STEP))
begun = shown()
until(lambda: gentle.process.end(lambda *_: None), "0")
print(begun, shown(), os.getpriority(os.PRIO_PROCESS, 0))
"""


def test_the_kernel_takes_both_from_a_process_without_privileges() -> None:
    here = str(os.getpriority(os.PRIO_PROCESS, 0))
    autogroup = [str(gentle.STEP), "0"] if Path("/proc/self/autogroup").exists() else ["none", "none"]
    assert printed(REAL, session=True).split() == [*autogroup, here]


STAYS = """
import os
from svc import gentle

gentle.stay()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


@pytest.mark.parametrize("session", [True, False], ids=["its own", "of others"])
def test_who_only_prepares_stays_gentle_in_its_own_session(session: bool) -> None:
    lowered = gentle.STEP if session else 0
    assert int(printed(STAYS, session=session)) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + lowered)
