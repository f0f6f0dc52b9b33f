"""Whose turn it is to be away: a lock that outlives processes, and that no two have."""

import os
import threading
from pathlib import Path

import pytest

from svc import turn


def never() -> None:
    pytest.fail("there was nothing to wait for")


def test_only_one_has_the_turn(tmp_path: Path) -> None:
    fd = turn.take(tmp_path)
    assert fd is not None
    assert not os.get_inheritable(fd)
    assert turn.take(tmp_path) is None
    turn.give_back(fd)
    second = turn.take(tmp_path)
    assert second is not None
    turn.give_back(second)


def test_a_copy_of_the_descriptor_holds_it_and_gives_it_back_for_all(tmp_path: Path) -> None:
    first = turn.take(tmp_path)
    assert first is not None
    with_systemd, inherited = os.dup(first), os.dup(first)
    os.close(first)  # the worker has ended
    assert turn.take(tmp_path) is None
    turn.give_back(inherited)  # its successor is ready
    after = turn.take(tmp_path)
    assert after is not None
    # What systemd still has means nothing any more, even if it is given back once more.
    turn.give_back(with_systemd)
    assert turn.take(tmp_path) is None
    turn.give_back(after)


def test_a_rollout_keeps_workers_from_taking_it(tmp_path: Path) -> None:
    with turn.shared(tmp_path, 0, never) as had:
        assert had
        assert turn.take(tmp_path) is None
    fd = turn.take(tmp_path)
    assert fd is not None
    turn.give_back(fd)


def test_a_rollout_waits_for_a_worker_and_says_so_once(tmp_path: Path) -> None:
    fd = turn.take(tmp_path)
    assert fd is not None
    said: list[str] = []

    def back() -> None:
        said.append("waiting")
        threading.Timer(turn.POLL_SECONDS * 3, turn.give_back, (fd,)).start()

    with turn.shared(tmp_path, 30, back) as had:
        assert had
        assert turn.take(tmp_path) is None
    assert said == ["waiting"]


def test_a_rollout_does_not_wait_for_ever(tmp_path: Path) -> None:
    fd = turn.take(tmp_path)
    assert fd is not None
    with turn.shared(tmp_path, 0, lambda: None) as had:
        assert not had
    assert turn.take(tmp_path) is None  # it was not the rollout's to give back
    turn.give_back(fd)


def test_a_version_that_cannot_start_stops_workers_but_not_the_rollout(tmp_path: Path) -> None:
    fd = turn.take(tmp_path)
    assert fd is not None
    turn.share(fd)
    assert turn.take(tmp_path) is None
    with turn.shared(tmp_path, 0, never) as had:
        assert had
        turn.give_back(fd)  # the successor that the rollout started is ready
        assert turn.take(tmp_path) is None  # but the rollout goes on


def test_a_rollout_without_a_folder(tmp_path: Path) -> None:
    with turn.shared(tmp_path / "gone", 30, never) as had:
        assert had
    with pytest.raises(FileNotFoundError):
        turn.take(tmp_path / "gone")


def test_a_failed_rollout_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), turn.shared(tmp_path, 0, never):
        raise ValueError("broken")
    fd = turn.take(tmp_path)
    assert fd is not None
    turn.give_back(fd)


def test_where_workers_meet() -> None:
    assert turn.folder_of("shop", user_scope=False) == Path("/run/svc/shop")
    own = turn.folder_of("shop", user_scope=True, environ={"XDG_RUNTIME_DIR": "/run/user/5"})
    assert own == Path("/run/user/5/svc/shop")
    assert turn.folder_of("shop", user_scope=True, environ={}) == Path(f"/run/user/{os.getuid()}/svc/shop")
