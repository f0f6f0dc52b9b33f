"""`svcctl --user check` on apps that stand in each other's way, run as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.worker.process import ROOT


def check(home: Path, *names: str) -> "subprocess.CompletedProcess[str]":
    """Run it on the apps in `home`."""
    return subprocess.run(
        [sys.executable, "-m", "svc.ctl", "--user", "check", *names],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PYTHONPATH": str(ROOT),
        },
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


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
    assert f"note: {file}/example.toml: listen: 127.0.0.1:8000 is taken by {file}/site.toml; " in done.stdout
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
        f"note: {folder}/example.toml: python: /nonexistent/bin/python does not exist; "
    )
    assert check(tmp_path, "example").returncode == 1


def test_two_with_equal_claims_are_an_error_each_and_nothing_is_said_of_units(apps: Path) -> None:
    example = apps / ".config" / "svc" / "example.toml"
    example.write_text(example.read_text().replace("wanted_by = []\n", ""))
    done = check(apps)
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "error"]
    assert done.stderr.count("choose another port for one of them") == 2
