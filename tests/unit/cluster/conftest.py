"""What the tests of the cache share: interpreters with other versions of lmdb."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `other`, an interpreter, with this one and, with `--every-uvicorn`, with those
    that have the lmdb of a distribution: a rollout may change the version, and then both are in use at once.
    """
    if "other" in metafunc.fixturenames:
        every = bool(metafunc.config.getoption("every_uvicorn"))
        older = sorted(ROOT.glob(".venv-uvicorn-*")) if every else []
        if every and not older:
            raise FileNotFoundError("there is no .venv-uvicorn-*: run `make deps-test`")
        metafunc.parametrize(
            "other",
            [sys.executable, *(f"{folder}/bin/python" for folder in older)],
            ids=["the same lmdb", *(folder.name for folder in older)],
        )
