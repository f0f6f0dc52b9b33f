"""What a rollout leaves for workers and for the next one."""

from pathlib import Path

import pytest

from svc.folders import rollout_folder
from svc.rollout.folder import Folder


def test_where_it_is() -> None:
    assert rollout_folder("app", environ={}) == "/run/svc/.rollout/app"
    assert rollout_folder("app", root="/image") == "/image/run/svc/.rollout/app"
    user = {"XDG_RUNTIME_DIR": "/run/user/1000", "SVC_ROOT": "/image"}
    assert rollout_folder("app", user_scope=True, environ=user) == "/run/user/1000/svc/.rollout/app"


def test_a_version_is_unproven_until_a_rollout_has_brought_it_to_its_end(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.tell_workers(proven=False)
    assert (tmp_path / "environment").read_text() == "SVC_UNPROVEN=1\n"
    folder.tell_workers(proven=True)
    assert (tmp_path / "environment").read_text() == ""


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.tell_workers(proven=False)
    (tmp_path / "environment.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        folder.tell_workers(proven=True)
    assert (tmp_path / "environment").read_text() == "SVC_UNPROVEN=1\n"
