"""What all tests share."""

import signal

import pytest


def pytest_configure() -> None:
    """A SIGTERM ends a run like Ctrl-C does, so that fixtures put away what they have set up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the tests of older uvicorns, which take their time."""
    parser.addoption(
        "--every-uvicorn", action="store_true", help="run workers with the uvicorn of each .venv-uvicorn-*"
    )
