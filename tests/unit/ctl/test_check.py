"""`svcctl --user check` on apps that stand in each other's way, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from svc.config import AppFiles, load
from svc.ctl.surroundings import surroundings
from svc.units import render
from svc.units.host import Host
from tests.unit.ctl.command import svcctl


def check(home: Path, *names: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run it on the apps in `home`."""
    return svcctl(home, "check", *names, **env)


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """A home with an app that starts at boot, and an example on the same port."""
    folder = tmp_path / ".config" / "svc"
    folder.mkdir(parents=True)
    for name, more in ("site", ""), ("example", "wanted_by = []\n"):
        text = f'app = "a:b"\nlisten = ["127.0.0.1:8000"]\npython = "{sys.executable}"\n{more}'
        (folder / f"{name}.toml").write_text(text)
    return tmp_path


def test_that_an_example_yields_is_no_error(apps: Path) -> None:
    done = check(apps)
    assert (done.returncode, done.stderr) == (0, "")
    file = apps / ".config" / "svc"
    assert (
        f"note: {file}/example.toml:2: listen: 127.0.0.1:8000 is taken by {file}/site.toml; " in done.stdout
    )
    assert "site: ok, " in done.stdout
    assert "example: ok" not in done.stdout


def test_it_is_one_for_who_asks_for_the_example(apps: Path) -> None:
    done = check(apps, "example")
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "is taken by" in done.stderr
    assert "systemd says" not in done.stderr


def test_an_example_of_a_package_may_lack_what_it_needs(tmp_path: Path) -> None:
    folder = tmp_path / "svc"  # of less weight than ~/.config/svc
    folder.mkdir()
    text = 'app = "a:b"\nlisten = ["127.0.0.1:8000"]\npython = "/nonexistent/bin/python"\nwanted_by = []\n'
    (folder / "example.toml").write_text(text)
    done = check(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"note: {folder}/example.toml:3: python: /nonexistent/bin/python does not exist; "
    )
    assert check(tmp_path, "example").returncode == 1


def test_two_with_equal_claims_are_an_error_each_and_nothing_is_said_of_units(apps: Path) -> None:
    example = apps / ".config" / "svc" / "example.toml"
    example.write_text(example.read_text().replace("wanted_by = []\n", ""))
    done = check(apps)
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "error"]
    assert done.stderr.count("choose another port for one of them") == 2


def small(home: Path, more: str = "") -> Path:
    """Write the one app `site`; return its file."""
    file = home / ".config/svc/site.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'app = "a:b"\nlisten = ["127.0.0.1:8000"]\npython = "{sys.executable}"\n{more}')
    return file


def test_what_is_wrong_around_it_has_a_file_and_a_line(tmp_path: Path) -> None:
    file = small(tmp_path)
    dropin = tmp_path / ".config/svc/site.toml.d/10.toml"
    dropin.parent.mkdir()
    dropin.write_text('\ndirectory = "/nope"\n[credentials]\nkey = "/nope/key"\n')
    said = check(tmp_path).stderr
    assert f"{dropin}:2: directory: /nope is no directory" in said
    assert f"{dropin}:4: credentials.key: /nope/key does not exist" in said
    assert f"{file}:" not in said


def test_the_interpreter_has_the_environment_of_a_worker(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$PYTHONPATH" "$CALLER" >{seen}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    file = small(tmp_path, '[env]\nPYTHONPATH = "/srv/lib"\n')
    file.write_text(file.read_text().replace(sys.executable, str(python)))
    assert check(tmp_path, CALLER="is not its business").returncode == 0
    assert seen.read_text() == "/srv/lib \n"


def test_what_is_wrong_with_other_units_is_not_the_apps(tmp_path: Path) -> None:
    other = tmp_path / "units/other.service"
    other.parent.mkdir()
    other.write_text("[Service]\nExecStart=/bin/true\nNonsense=1\n")
    small(tmp_path, '[unit]\nWants = "other.service"\n[service]\nGibberish = "1"\n')
    done = check(tmp_path, SYSTEMD_UNIT_PATH=f"{other.parent}:")
    (line,) = done.stderr.splitlines()
    assert "systemd says: site@" in line
    assert "Gibberish" in line


@pytest.mark.parametrize(("more", "hidden"), [("", True), ('[service]\nProtectHome = "read-only"\n', False)])
def test_a_link_into_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, hidden: bool) -> None:
    monkeypatch.setattr(render, "_HOMES", (f"{tmp_path}/home/",))
    (tmp_path / "home/site").mkdir(parents=True)
    (tmp_path / "srv").symlink_to(tmp_path / "home")
    file = small(tmp_path, f'directory = "{tmp_path}/srv/site"\n{more}')
    files = AppFiles("site", file, (), user_scope=True)
    said = [str(problem) for problem in surroundings(load(files), files, Host(2, user_scope=True))]
    assert (
        said
        == [
            f"{file}:4: directory: {tmp_path}/srv/site is a link into a home, which workers cannot "
            'see; write the path that it leads to, or ProtectHome = "read-only" in [service]'
        ]
        * hidden
    )
