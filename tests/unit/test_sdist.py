"""An sdist is a release: whoever has it can do all that whoever has the tree can."""

import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PARTS = ("Makefile", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml")
FOLDERS = ("svc", "units", "packaging", "tests")


def files(folder: Path) -> set[str]:
    """All files of a release that are in a tree, by their path in it."""
    found = {path for name in FOLDERS for path in (folder / name).rglob("*") if path.is_file()}
    ours = {path for path in found if path.suffix != ".pyc" and ".hypothesis" not in path.parts}
    return {*PARTS, *(str(path.relative_to(folder)) for path in ours)}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is in the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    tree = folder / "tree"  # a copy, because a build leaves a folder in the tree
    tree.mkdir()
    for name in files(TREE):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((TREE / name).read_bytes())
    build = "import setuptools.build_meta as b, sys; b.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, folder], cwd=tree, check=True, capture_output=True)
    [archive] = folder.glob("*.tar.gz")
    (folder / "out").mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder / "out"], check=True)
    [top] = (folder / "out").iterdir()
    return top


def test_it_has_every_file_of_the_tree(unpacked: Path) -> None:
    assert files(TREE) - files(unpacked) == set()


def test_svc_can_be_installed_from_it(unpacked: Path, tmp_path: Path) -> None:
    argv = ["make", "-s", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr/local"]
    subprocess.run(argv, cwd=unpacked, check=True, capture_output=True)
    svcctl = tmp_path / "usr/local/bin/svcctl"
    module = tmp_path / "usr/local/lib/svc/python/svc/units/translated.py"
    assert svcctl.stat().st_mode & 0o777 == 0o755
    assert "def " in module.read_text()
