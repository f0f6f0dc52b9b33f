"""The generator when it can make no units at all: what runs keeps its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from svc import generator
from tests.unit.worker.process import ROOT


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What goes to the log. No app file is there, jinja2 is not, and the root is a folder."""
    lines: list[str] = []

    def without_jinja2(*_: object, **__: object) -> list[str]:
        raise ModuleNotFoundError("No module named 'jinja2'")

    monkeypatch.setenv("SVC_ROOT", str(tmp_path))
    monkeypatch.delenv("SYSTEMD_SCOPE", raising=False)
    monkeypatch.setattr(generator, "_generate", without_jinja2)
    monkeypatch.setattr(generator, "log", lines.append)
    return lines


def generate(tmp_path: Path) -> tuple[int, dict[str, str]]:
    """Run it; return its exit status and what it wrote."""
    late = tmp_path / "late"
    late.mkdir()
    status = generator.main(["svc-generator", "normal", "early", str(late)])
    return status, {path.name: path.read_text() for path in late.iterdir()}


def test_apps_that_run_keep_their_units(tmp_path: Path, said: list[str]) -> None:
    kept = {}
    for name in ("shop", "site"):
        units = tmp_path / "run/svc/.rollout" / name / "units"
        units.mkdir(parents=True)
        for unit in (f"{name}.target", f"{name}@.service"):
            kept[unit] = f"[Unit]\nDescription={unit}\n"
            (units / unit).write_text(kept[unit])
    assert generate(tmp_path) == (1, kept)
    assert said == [
        "no units can be made: ModuleNotFoundError: No module named 'jinja2' (apps that run keep theirs)"
    ]


def test_one_whose_units_are_not_there_costs_only_itself(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "run/svc/.rollout/lost").mkdir(parents=True)
    units = tmp_path / "run/svc/.rollout/site/units"
    units.mkdir(parents=True)
    (units / "site.target").write_text("[Unit]\n")
    assert generate(tmp_path) == (1, {"site.target": "[Unit]\n"})
    assert [line for line in said if line.startswith("lost: its units cannot be kept: ")]


def test_one_whose_units_cannot_be_written_is_told_of(tmp_path: Path, said: list[str]) -> None:
    units = tmp_path / "run/svc/.rollout/site/units"
    units.mkdir(parents=True)
    (units / "site.target").write_text("[Unit]\n")
    (tmp_path / "late/site.target").mkdir(parents=True)
    assert generator.main(["svc-generator", "normal", "early", str(tmp_path / "late")]) == 1
    assert [line for line in said if line.startswith("site: its units cannot be kept: ")]


def test_where_nothing_runs_it_says_why(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "etc/svc").mkdir(parents=True)
    (tmp_path / "etc/svc/site.toml").write_text("")
    assert generate(tmp_path) == (1, {})
    assert len(said) == 1


def test_units_are_utf8_in_any_locale(tmp_path: Path) -> None:
    """PID 1 gives generators the LANG of the host."""
    for name, directory in (("one", "/srv/日本"), ("two", "/srv/ü")):
        file = tmp_path / f"etc/svc/{name}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = f'app = "a:b"\nlisten = ["unix:/run/{name}"]\ndirectory = "{directory}"\n'
        file.write_text(text, encoding="utf-8")
    late = tmp_path / "late"
    late.mkdir()
    script = "import sys; from svc.generator import main; sys.exit(main(sys.argv))"
    env = os.environ | {
        "SVC_ROOT": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
    }
    env.pop("SYSTEMD_SCOPE", None)
    subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", script, "normal", "early", str(late)], env=env, check=True
    )
    assert "WorkingDirectory=/srv/日本\n" in (late / "one@.service").read_text(encoding="utf-8")
    assert "WorkingDirectory=/srv/ü\n" in (late / "two@.service").read_text(encoding="utf-8")
