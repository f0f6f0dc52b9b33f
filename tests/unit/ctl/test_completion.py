"""The completion for bash, as bash calls it."""

import subprocess
from pathlib import Path

import pytest

from tests.unit.worker.process import ROOT

SCRIPT = """
source "$1/packaging/completions/svcctl.bash"
shift
COMP_WORDS=(svcctl "$@") COMP_CWORD=$#
_svcctl
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(home: Path, *words: str) -> list[str]:
    """What is offered for the last of the words."""
    done = subprocess.run(
        ["bash", "-c", SCRIPT, "bash", str(ROOT), *words],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["re"], ["render", "reload"]),
        (["--user", "st"], ["status"]),
        (["--user", "check", "s"], ["shop", "site"]),
        (["--user", "reload", "--"], ["--help", "--abort"]),
        (["--user", "list", ""], []),
        (["--user", "render", "--output", ".c"], [".config"]),
    ],
)
def test_what_is_offered(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    folder = tmp_path / ".config/svc"
    folder.mkdir(parents=True)
    for name in ("shop", "site", "other", "$(touch pwned)"):
        (folder / f"{name}.toml").touch()
    assert complete(tmp_path, *words) == expected
    assert not (tmp_path / "pwned").exists()
