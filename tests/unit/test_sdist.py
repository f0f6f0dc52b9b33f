"""An sdist is a release: whoever has it can do all that whoever has the tree can."""

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PARTS = ("Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml")
FOLDERS = ("svc", "units", "packaging", "tests")


def files(folder: Path) -> set[str]:
    """All files of a release that are in a tree, by their path in it."""
    found = {path for name in FOLDERS for path in (folder / name).rglob("*") if path.is_file()}
    found |= {folder / name for name in PARTS if (folder / name).is_file()}
    return {str(path.relative_to(folder)) for path in found if path.suffix != ".pyc"}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is in the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    build = "import hatchling.build as b, sys; b.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, folder], cwd=TREE, check=True, capture_output=True)
    [archive] = folder.glob("*.tar.gz")
    (folder / "out").mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder / "out"], check=True)
    [top] = (folder / "out").iterdir()
    return top


def test_it_has_the_files_of_the_tree(unpacked: Path) -> None:
    assert files(unpacked) == files(TREE)


def test_svc_can_be_installed_from_it(unpacked: Path, tmp_path: Path) -> None:
    argv = ["make", "-s", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr/local"]
    subprocess.run(argv, cwd=unpacked, check=True, capture_output=True)
    svcctl = tmp_path / "usr/local/bin/svcctl"
    module = tmp_path / "usr/local/lib/svc/python/svc/units/translated.py"
    assert svcctl.stat().st_mode & 0o777 == 0o755
    assert "def " in module.read_text()
