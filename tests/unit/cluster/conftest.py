"""What tests of the cluster share: a server for several hosts, interpreters with other versions of lmdb."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from svc.cluster.hosts.server import Server
from tests.redis_server import RedisServer

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


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def server(redis: RedisServer) -> Iterator[Server]:
    """A host's connection to it."""
    found = Server(redis.url, "svc:app:")
    yield found
    found.close()
