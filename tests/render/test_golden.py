"""Golden trees: tests/render/NN-name/{etc,run,usr} becomes tests/render/NN-name/expected, line by line.

`host.toml` of a case says what the host is (default: 2 CPUs, systemd 252). The errors that the generator
reports are the file `expected/errors`. After a change that is meant, `make golden` writes the trees anew;
read the difference before you commit it.
"""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jinja2
import pytest

from svc.config import SearchPath
from svc.units import render
from svc.units.generate import generate
from svc.units.host import Host

CASES = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[:2].isdigit())
# Services that stand in for sockets run no process.
WORKERS = [
    path
    for case in CASES
    for path in sorted(case.glob("expected/*@.service"))
    if not path.name.endswith(("-bus@.service", "-wake@.service"))
]


def test_there_are_cases() -> None:
    assert len(CASES) > 5
    assert len(WORKERS) > 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rendered_tree_is_the_expected_one(case: Path, tmp_path: Path) -> None:
    _generate(case, tmp_path)
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(case / "expected", ignore_errors=True)
        shutil.copytree(tmp_path, case / "expected", symlinks=True)
    assert _tree(tmp_path) == _tree(case / "expected")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_templates_say_what_jinja2_would(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[2] / "units"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    monkeypatch.setattr(render, "fill", lambda name, values: strict.get_template(name).render(values))
    _generate(case, tmp_path)
    assert _tree(tmp_path) == _tree(case / "expected")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_systemd_accepts_the_tree(case: Path, tmp_path: Path) -> None:
    for path in (case / "expected").glob("*"):
        if path.is_file() and path.name != "errors":
            # Programs and interpreters of the examples are not on this host; systemd would say so first.
            text = path.read_text().replace(
                "ExecStart=/srv/mysite/venv/bin/python", "ExecStart=/usr/bin/python3"
            )
            text = text.replace("ExecStart=/home/me/mine/.venv/bin/python", "ExecStart=/usr/bin/python3")
            text = text.replace("ExecStart=node", "ExecStart=/bin/true").replace(
                "/usr/bin/svcctl", "/bin/true"
            )
            (tmp_path / path.name).write_text(text)
    units = [str(path).replace("@.", "@0.") for path in sorted(tmp_path.iterdir())]
    if not units:
        assert (case / "expected/errors").exists() or "masked" in case.name
        return
    facts = _facts(case)
    scope = ["--user"] if facts.get("user_scope") else []
    done = subprocess.run(
        ["systemd-analyze", *scope, "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    # An older systemd says which directives it does not know; that is all it may say.
    complaints = [
        line for line in done.stderr.splitlines() if not ("systemd" in facts and "Unknown key" in line)
    ]
    assert complaints == []


@pytest.mark.parametrize("unit", WORKERS, ids=lambda unit: unit.name)
def test_a_worker_is_hardened(unit: Path) -> None:
    if "user-scope" in str(unit):
        assert "NoNewPrivileges=yes" in unit.read_text()
        return
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _generate(case: Path, folder: Path) -> None:
    host = Host(**{"cpus": 2} | _facts(case))
    if errors := generate(SearchPath.system(str(case)), host, folder, str(case)):
        (folder / "errors").write_text("".join(f"{error}\n" for error in errors))
    # The case stands for the root of a host.
    for path in folder.iterdir():
        if path.is_file():
            path.write_text(path.read_text().replace(str(case), ""))


def _facts(case: Path) -> dict[str, Any]:
    file = case / "host.toml"
    return tomllib.loads(file.read_text()) if file.exists() else {}


def _tree(folder: Path) -> dict[str, str]:
    tree = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            tree[name] = f"-> {path.readlink()}"
        elif path.is_file():
            tree[name] = path.read_text()
    return tree
