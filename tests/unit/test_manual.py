"""The manual is made of the table that the parser uses, so it cannot forget a key."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from svc import manual
from svc.config.settings import SECTIONS, SETTINGS, Setting

TREE = Path(manual.__file__).parent.parent


def run(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "svc.manual", *args], capture_output=True, text=True, check=True, cwd=TREE
    )
    return done.stdout


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.path)
def test_each_key_is_in_both(row: Setting) -> None:
    name = manual.key_name(row)
    page = manual.man_settings()
    start = page.index(f".SS [{row.section}]\n" if row.section else ".SS Top of the file\n")
    section = page[start + 1 :].partition("\n.SS ")[0]
    assert f"\n\\fB{manual.roff(name)}\\fR\n" in section
    assert manual.roff(row.example) in section
    column = f"`[{row.section}]`" if row.section else ""
    assert f"| {column} | `{name}` | " in manual.markdown_table()


def test_the_page_is_sound_roff(tmp_path: Path) -> None:
    groff = shutil.which("groff")
    assert groff, "run `make deps`, which installs it"
    page = run("man")
    assert page.startswith(".TH SVC.TOML 5")
    assert "@" not in re.sub(r"@(?=\.service|x)", "", page.replace("NAME\\fR@", ""))
    manuals = (TREE / "packaging" / "man" / name for name in ("svcctl.8", "svc-cluster.7"))
    for file in (tmp_path / "svc.toml.5", *manuals):
        if file.parent == tmp_path:
            file.write_text(page)
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-Kutf8", "-ww", str(file)], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
        assert "SEE ALSO" in shown
        if file.parent == tmp_path:
            assert all(manual.key_name(row) in shown for row in SETTINGS)
            assert all(f"[{section}]" in shown for section in SECTIONS)


def test_the_table_is_sound_markdown() -> None:
    head, rule, *rows = run("table").splitlines()
    assert (head.count("|"), rule) == (5, "|---|---|---|---|")
    assert len(rows) == len(SETTINGS)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


def test_roff_cannot_be_broken() -> None:
    assert manual.roff(".TH") == r"\&.TH"
    assert manual.roff("'x' - a\\b") == r"\(aqx\(aq \- a\eb"
    assert manual.roff("see `app`") == r"see \fBapp\fR"


@pytest.mark.parametrize("args", [[], ["mann"], ["table", "x"], ["man", "a", "b"]])
def test_a_wrong_call(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert manual.main(args) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_without_the_text_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert manual.main(["man", str(tmp_path / "absent")]) == 1
    assert "absent: cannot be read" in capsys.readouterr().err
