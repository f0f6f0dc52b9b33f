"""The README says what is: its table is the parser's, its commands exist."""

import ast
import re
import subprocess
import sys
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


def test_the_example_of_messages_runs() -> None:
    example = re.search(r"## Messages.*?```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    program = f"""
import asyncio, types
app = types.SimpleNamespace(state=types.SimpleNamespace())

async def count_users():
    return 24

async def main():
    scope = dict(globals())
    await eval(compile({example[1]!r}, "README", "exec", {ast.PyCF_ALLOW_TOP_LEVEL_AWAIT}), scope)
    assert app.state.users in (24, 26), app.state  # whether the job was first or last

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=TREE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
