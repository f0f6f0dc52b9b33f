"""The interpreters and event loops that worker tests run with.

`.venv` always takes part. With `--every-uvicorn` so do the environments `.venv-uvicorn-*`, which hold
the versions that distributions have (`make deps-test` makes them).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.unit.worker.process import ROOT


@dataclass(frozen=True)
class Variant:
    """One way to run a worker: an interpreter, a loop, and modules that seem not to be installed."""

    name: str
    python: str
    loop: str
    missing: tuple[str, ...] = ()


@cache
def variants(every: bool) -> tuple[Variant, ...]:
    """All the ways, the newest packages first."""
    newest = str(ROOT / ".venv" / "bin" / "python")
    found = [
        Variant("uvloop", newest, "uvloop"),
        Variant("asyncio", newest, "asyncio"),
        Variant("bare", newest, "asyncio", ("uvloop", "httptools")),
    ]
    older = sorted(ROOT.glob(".venv-uvicorn-*")) if every else []
    if every and not older:
        raise FileNotFoundError("there is no .venv-uvicorn-*: run `make deps-test`")
    return (
        *found,
        *(Variant(folder.name.removeprefix(".venv-"), f"{folder}/bin/python", "uvloop") for folder in older),
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `variant` with each way to run a worker in turn."""
    if "variant" in metafunc.fixturenames:
        every = bool(metafunc.config.getoption("every_uvicorn"))
        metafunc.parametrize("variant", variants(every), ids=lambda variant: variant.name)


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    """Each event loop in turn, with the newest packages."""
    return str(request.param)


def hide(folder: Path, modules: tuple[str, ...]) -> Path:
    """Fill `folder` so that, first on the path, it makes `modules` look as if they were not installed."""
    for module in modules:
        (folder / f"{module}.py").write_text(f"raise ModuleNotFoundError(name={module!r})\n")
    return folder
