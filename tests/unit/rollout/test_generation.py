"""What tells one version from the next."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from svc.app import App, Family, Listen, Reload
from svc.rollout import generation
from svc.units.host import Host


def app(stamp: str) -> App:
    listen = (Listen(Family.INET, "127.0.0.1", 8000),)
    return App("app", Path("/etc/svc/app.toml"), listen, app="a:b", reload=Reload(stamp=stamp))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "svc").mkdir()
    (tmp_path / "svc" / "__init__.py").touch()
    return Host(cpus=2, library=str(tmp_path))


def test_all_that_a_worker_is_started_with_counts(tmp_path: Path, host: Host) -> None:
    stamp = tmp_path / "REVISION"
    stamp.write_text("1")
    one = app(str(stamp))
    first = generation.started_with(one, host, "unit")
    assert len(first) == 16
    assert generation.started_with(one, host, "unit") == first
    secret = tmp_path / "secret"
    secret.touch()
    others = {
        generation.started_with(one, host, "another unit"),
        generation.started_with(replace(one, python=sys.executable), host, "unit"),
        generation.started_with(replace(one, credentials=(("x", str(secret)),)), host, "unit"),
    }
    (tmp_path / "svc" / "__init__.py").write_text("new")
    others.add(generation.started_with(one, host, "unit"))
    stamp.write_text("2!")
    others.add(generation.started_with(one, host, "unit"))
    assert len({first, *others}) == 6
    assert "" not in others


def test_without_a_stamp_nothing_is_known(tmp_path: Path, host: Host) -> None:
    for stamp in ("", str(tmp_path / "absent"), str(tmp_path), "/nul\0"):
        assert generation.started_with(app(stamp), host, "unit") == ""


def test_a_link_that_is_moved_and_one_that_is_made_anew_count_but_not_what_is_put_behind_it(
    tmp_path: Path,
) -> None:
    releases = [tmp_path / "1", tmp_path / "2"]
    for release in releases:
        release.mkdir()
    link = tmp_path / "current"
    link.symlink_to(releases[0])
    first = generation.file(str(link))
    (releases[0] / "__pycache__").mkdir()
    assert generation.file(str(link)) == first
    link.unlink()
    link.symlink_to(releases[1])
    second = generation.file(str(link))
    link.unlink()
    (tmp_path / "in its place").touch()  # else the file system may give the new link the same inode and time
    link.symlink_to(releases[0])
    third = generation.file(str(link))
    assert len({first, second, third, None}) == 4


def test_a_process_tells_what_it_was_started_as(tmp_path: Path) -> None:
    environment = {**os.environ, "SVC_GENERATION": "3-abc"}
    cat = ["/bin/cat"]
    with subprocess.Popen(
        cat, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print("are you there?", file=process.stdin, flush=True)
        process.stdout.readline()
        assert generation.of_process(process.pid) == "3-abc"
        process.stdin.close()
    assert generation.of_process(process.pid) is None
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "environ").write_bytes(b"A=1\0")
    assert generation.of_process(7, tmp_path) is None


def test_names() -> None:
    assert generation.name(3, "0123456789abcdef") == "3-01234567"
    assert generation.name(3, "") == "3"
