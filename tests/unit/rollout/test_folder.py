"""What a rollout leaves for workers and for the next one."""

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

from svc.folders import rollout_folder
from svc.rollout.folder import Folder, Record, follow


def test_where_it_is() -> None:
    assert rollout_folder("app", environ={}) == "/run/svc/.rollout/app"
    assert rollout_folder("app", root="/image") == "/image/run/svc/.rollout/app"
    user = {"XDG_RUNTIME_DIR": "/run/user/1000", "SVC_ROOT": "/image"}
    assert rollout_folder("app", user_scope=True, environ=user) == "/run/user/1000/svc/.rollout/app"


def test_a_version_is_unproven_until_a_rollout_has_brought_it_to_its_end(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    record = Record(3, "0123456789abcdef")
    folder.write(record)
    assert (tmp_path / "environment").read_text() == "SVC_GENERATION=3-01234567\nSVC_UNPROVEN=1\n"
    assert folder.read() == record
    folder.write(replace(record, finished=True))
    assert (tmp_path / "environment").read_text() == "SVC_GENERATION=3-01234567\n"
    assert folder.read() == replace(record, finished=True)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"number": 1, "digest": "", "odd": 1}'])
def test_a_record_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "generation").write_text(text)
    assert Folder(tmp_path).read() is None


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(Record(1, ""))
    (tmp_path / "generation.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        folder.write(Record(2, ""))
    assert folder.read() == Record(1, "")
    assert (tmp_path / "environment").read_text() == "SVC_GENERATION=1\nSVC_UNPROVEN=1\n"


@pytest.mark.parametrize(
    ("last", "digest", "number"),
    [
        (None, "a", 1),
        (Record(4, "a", finished=True), "a", 5),
        (Record(4, "a"), "a", 4),
        (Record(4, "a"), "b", 5),
        (Record(4, ""), "", 5),
    ],
)
def test_only_what_was_broken_off_and_is_known_to_be_the_same_is_continued(
    last: Record | None, digest: str, number: int
) -> None:
    assert follow(last, digest) == Record(number, digest)


def test_one_rollout_at_a_time(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with folder.lock(), (tmp_path / "lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_word_of_a_success_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOCATION_ID", "0123456789abcdef")  # run by systemd
    folder = Folder(tmp_path)
    assert not folder.take_success()
    folder.succeed()
    assert folder.take_success()
    assert not folder.take_success()


def test_a_rollout_by_hand_leaves_no_word_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    folder = Folder(tmp_path)
    folder.succeed()
    assert not folder.take_success()
