"""Locks, the leader, the scoreboard, names and owners: everything that needs no messages."""

import errno
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svc.cluster import leader, ofd, rendezvous, scoreboard, slots
from svc.cluster.leader import Leadership
from svc.cluster.names import file_name
from svc.cluster.schedule import next_due
from svc.cluster.ticket import Ticket


@settings(max_examples=30, deadline=None)
@given(st.text(), st.integers(1, 64))
def test_an_added_worker_takes_its_share_of_keys_and_no_other_moves(prefix: str, slots: int) -> None:
    keys = [f"{prefix}{number}".encode("utf-8", "replace") for number in range(300)]
    moved = [key for key in keys if rendezvous.owner(key, slots) != rendezvous.owner(key, slots + 1)]
    assert all(rendezvous.owner(key, slots + 1) == slots for key in moved)
    share = len(keys) / (slots + 1)
    assert len(moved) < share + 6 * share**0.5 + 6


def test_owners_are_spread_evenly_and_never_change() -> None:
    counts = [0] * 8
    for number in range(8000):
        counts[rendezvous.owner(f"user:{number}", 8)] += 1
    assert max(counts) - min(counts) < 250
    assert [rendezvous.owner(f"user:{number}", 8) for number in range(6)] == EXPECTED
    assert rendezvous.owner("ä", 100) == rendezvous.owner("ä".encode(), 100)


@pytest.mark.parametrize("key", [4711, True, None, [1, 2]])
def test_what_is_no_text_and_no_bytes_has_no_owner(key: Any) -> None:
    with pytest.raises(TypeError, match="a key is a text or bytes"):
        rendezvous.owner(key, 4)


EXPECTED = [7, 5, 4, 7, 3, 0]
"""Written down once: a change would move the keys of running apps."""


@settings(deadline=None)
@given(st.lists(st.text(), unique=True, min_size=2, max_size=2))
def test_two_names_are_two_files(names: list[str]) -> None:
    one, other = map(file_name, names)
    assert one != other
    assert "/" not in one
    assert 0 < len(one.encode()) <= 240
    assert one not in {".", ".."}


def test_a_lock_is_had_in_the_order_of_coming(tmp_path: Path) -> None:
    tickets = [Ticket(tmp_path, "it") for _ in range(4)]
    assert [ticket.has_it() for ticket in tickets] == [True, False, False, False]
    tickets[1].leave()  # lost patience
    tickets[0].leave()
    assert [ticket.has_it() for ticket in tickets[2:]] == [True, False]
    tickets[2].leave()
    assert tickets[3].has_it()
    tickets[3].leave()
    assert list(tmp_path.iterdir()) == []  # names may be many


def test_a_lock_whose_file_was_just_removed_is_taken_on_a_new_one(tmp_path: Path) -> None:
    late = Ticket(tmp_path, "it")
    (tmp_path / "it").unlink()  # what the last holder does who saw nobody waiting
    assert late.has_it()
    other = Ticket(tmp_path, "it")
    assert not other.has_it()
    late.leave()
    assert other.has_it()
    other.leave()


def hold(folder: Path, ready: "multiprocessing.synchronize.Event") -> None:
    Ticket(folder, "it")
    Leadership(folder, 7).take()
    ready.set()
    signal.pause()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    other = spawn.Process(target=hold, args=(tmp_path, ready))
    other.start()
    assert ready.wait(30)
    mine, candidate = Ticket(tmp_path, "it"), Leadership(tmp_path, 1)
    assert not mine.has_it()
    assert not candidate.take()
    assert leader.holder(tmp_path) == (7, other.pid)
    other.kill()
    other.join()
    assert mine.has_it()
    assert leader.holder(tmp_path) is None
    assert candidate.take()
    assert leader.holder(tmp_path) == (1, os.getpid())
    candidate.give_up()
    mine.leave()
    assert leader.holder(tmp_path) is None


def test_who_looks_is_told_which_worker_does_which_job(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    assert leader.holders("app", tmp_path) == ()
    mine = Leadership(tmp_path / "app", 3)
    assert mine.take()
    assert leader.holders("app", tmp_path) == ()
    mine.announce([(10, "app.a long name indeed"), (0.5, "app.b\nc\x1cd"), (1e9, "app.ä")])
    mine.announce([(10, "app.a"), (0.5, "app.b\nc\x1cd")])
    assert leader.holders("app", tmp_path) == (
        leader.Holder("app.a", 10, 3, os.getpid()),
        leader.Holder("app.b c d", 0.5, 3, os.getpid()),
    )
    mine.give_up()
    assert leader.holders("app", tmp_path) == ()


def test_no_leader_without_a_folder(tmp_path: Path) -> None:
    assert leader.holders("none", tmp_path) == ()
    assert leader.holder(tmp_path / "none") is None


def test_locks_of_bytes(tmp_path: Path) -> None:
    one, other = ofd.open_file(tmp_path / "f"), ofd.open_file(tmp_path / "f")
    assert ofd.try_lock(one, 5)
    assert not ofd.try_lock(other, 5)
    assert ofd.is_locked(other, 0, 0)
    assert not ofd.is_locked(other, 0, 5)
    assert not ofd.is_locked(one, 0, 0)
    ofd.unlock(one, 5)
    assert ofd.try_lock(other, 5)
    os.close(one)
    os.close(other)


def test_the_scoreboard_shows_who_lives(tmp_path: Path) -> None:
    assert list(scoreboard.read(tmp_path)) == []
    first = scoreboard.Record(tmp_path, 0, "v1")
    last = scoreboard.Record(tmp_path, slots.CAPACITY - 1, "ä" * 200)
    surge = scoreboard.Record(tmp_path, "surge", "")
    more = scoreboard.Record(tmp_path, "surge-64", "")
    first.state("ready")
    first.figures(connections=3, in_flight=2, answered=100)
    found = list(scoreboard.read(tmp_path))
    states = [(one.slot, one.state) for one in found]
    assert states == [
        (0, "ready"),
        (1023, "starting"),
        ("surge-64", "starting"),
        ("surge", "starting"),
    ]
    assert (found[0].pid, found[0].generation, found[0].in_flight) == (os.getpid(), "v1", 2)
    assert (found[0].connections, found[0].answered) == (3, 100)
    assert last.says(0) == "ready"
    assert last.surges() == more.surges() == ["surge", "surge-64"]
    assert last.away(0) == 0
    first.words[scoreboard.MARK_NUMBER] = 42
    first.close()
    surge.close()
    assert last.surges() == ["surge-64"]
    more.close()
    assert last.surges() == []
    assert [one.slot for one in scoreboard.read(tmp_path)] == [1023]
    assert last.says(0) == ""
    assert last.away(0) > 0
    again = scoreboard.Record(tmp_path, 0, "v2")
    assert again.words[scoreboard.MARK_NUMBER] == 42  # what its predecessor had begun
    again.close()
    last.close()


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, 100.0, 100.0),
        (100.0, 103.0, 110.0),
        (100.0, 111.0, 110.0),
        (100.0, 135.0, 130.0),  # what was missed is not made up for, and the beat is kept
        (101.0, 100.0, 111.0),  # a clock that was set back a little: no period has two beginnings
        (900.0, 100.0, 100.0),  # a stamp from the future: the host's clock began anew
    ],
)
def test_when_a_job_is_due(last: float | None, now: float, due: float) -> None:
    assert next_due(last, 10.0, now) == due


def full(*_: object) -> NoReturn:
    """Do what the system does where /run is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_who_leads_while_run_is_full_leads_and_is_not_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    earlier, mine = Leadership(tmp_path / "app", 1), Leadership(tmp_path / "app", 2)
    assert earlier.take()
    earlier.announce([(1, "job")])
    earlier.give_up()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert mine.take()
        mine.announce([(1, "job")])
    assert leader.holders("app", tmp_path) == ()  # and not the earlier one
    mine.announce([(1, "job")])
    assert [one.slot for one in leader.holders("app", tmp_path)] == [2]
    mine.give_up()


def test_a_record_for_which_there_is_no_room_is_an_error_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        scoreboard.Record(tmp_path, 0, "")
