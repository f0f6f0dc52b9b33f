"""The README says what is: its table is the parser's, its commands exist."""

import re
from pathlib import Path

from svc.manual import markdown_table

TREE = Path(__file__).parents[2]
README = (TREE / "README.md").read_text()


def test_the_configuration_table_is_current() -> None:
    table = re.search(r"<!-- table -->\n(.*?)<!-- /table -->", README, re.DOTALL)
    assert table is not None
    assert table[1] == markdown_table(), "run `make docs`"


def test_every_make_target_that_it_names_exists() -> None:
    makefiles = (TREE / "Makefile").read_text() + (TREE / "packaging" / "install.mk").read_text()
    named = set(re.findall(r"(?:`|^|sudo )make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test", "check", "install", "uninstall"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefiles, re.MULTILINE), target
