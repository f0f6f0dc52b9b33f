"""What svcctl says to names that name no app, and where it cannot do its work: a line, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from svc.ctl import codes
from tests.unit.ctl.command import svcctl
from tests.unit.worker.process import ROOT


def site(home: Path) -> Path:
    """Write the one app `site`; return its folder."""
    folder = home / ".config/svc"
    folder.mkdir(parents=True)
    (folder / "site.toml").write_text('app = "a:b"\nlisten = ["127.0.0.1:8000"]\n')
    return folder


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("check", "/etc/svc/mysite.toml"),
        ("render", "mysite.toml"),
        ("reload", "*"),
        ("status", "my*"),
        ("status", "mysite.target"),
        ("rollout", "a b"),
    ],
)
def test_a_name_that_names_no_app(tmp_path: Path, command: str, name: str) -> None:
    done = svcctl(tmp_path, command, name)
    assert done.returncode == codes.WRONG_CALL
    assert f"{name!r} names no app: that of /etc/svc/mysite.toml is called mysite" in done.stderr


def test_an_app_that_is_not_there(tmp_path: Path) -> None:
    folder = site(tmp_path)
    done = svcctl(tmp_path, "check", "sight")
    expected = f"svcctl: no app is called sight (apps: site); write {folder}/sight.toml\n"
    assert (done.returncode, done.stderr) == (codes.FAILED, expected)


def test_without_systemctl(tmp_path: Path) -> None:
    done = svcctl(tmp_path, "status", "site", PATH="/nonexistent")
    assert (done.returncode, done.stderr) == (
        codes.FAILED,
        "svcctl: [Errno 2] No such file or directory: 'systemctl'\n",
    )


def test_without_a_bus(tmp_path: Path) -> None:
    site(tmp_path)
    done = svcctl(tmp_path, "list", DBUS_SESSION_BUS_ADDRESS="unix:path=/nonexistent")
    assert done.returncode == codes.FAILED
    (line,) = done.stderr.splitlines()
    assert line.startswith("svcctl: systemctl ")


def test_without_jinja2(tmp_path: Path) -> None:
    site(tmp_path)
    (tmp_path / "without").mkdir()
    (tmp_path / "without/jinja2.py").write_text("raise ModuleNotFoundError(\"No module named 'jinja2'\")")
    done = svcctl(tmp_path, "render", PYTHONPATH=f"{tmp_path}/without:{ROOT}")
    expected = f"svcctl: No module named 'jinja2'; install it for {sys.executable}\n"
    assert (done.returncode, done.stderr) == (codes.FAILED, expected)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    site(tmp_path)
    (tmp_path / "file").touch()
    done = svcctl(tmp_path, "render", "--output", str(tmp_path / "file"))
    assert done.returncode == codes.FAILED
    (line,) = done.stderr.splitlines()
    assert "File exists" in line


def test_nobody_reads_on(tmp_path: Path) -> None:
    site(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        done = subprocess.run(
            [sys.executable, "-m", "svc.ctl", "--user", "render"],
            env=os.environ | {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
            cwd=ROOT,
            stdout=broken,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (codes.FAILED, "")


def test_a_locale_that_cannot_show_it(tmp_path: Path) -> None:
    site(tmp_path)
    done = svcctl(tmp_path, "render", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (codes.DONE, "")
    assert "site@.service" in done.stdout


def test_units_for_a_host_of_so_many_cpus(tmp_path: Path) -> None:
    site(tmp_path)
    output = tmp_path / "units"
    previous = os.umask(0o077)
    try:
        assert svcctl(tmp_path, "render", "--output", str(output), "--cpus", "3").returncode == codes.DONE
    finally:
        os.umask(previous)
    assert "site@2.service" in (output / "site.target").read_text()
    assert "site@3.service" not in (output / "site.target").read_text()
    assert {path.stat().st_mode & 0o777 for path in output.iterdir()} == {0o644}
