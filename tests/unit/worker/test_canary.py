"""The canary: a new version answers it before it is ready, or does not become ready at all."""

import time
from pathlib import Path

import pytest

from svc.worker.canary import Canary
from tests.unit.worker.conftest import Variant
from tests.unit.worker.process import run_worker

UNPROVEN = {"SVC_UNPROVEN": "1"}


@pytest.mark.parametrize("app", ["asgi_app:app", "wsgi_app:app"])
def test_a_worker_that_answers_is_ready(variant: Variant, app: str) -> None:
    options = ("--canary", "/?x=1", "--loop", variant.loop)
    with run_worker(*options, app=app, python=variant.python, environment=UNPROVEN) as worker:
        assert "the canary /?x=1 was answered" in worker.line("ready on")
        with worker.client() as client:
            assert client.get()[0] == 200
        worker.terminate()
        assert worker.ended() == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("/fail", "the canary /fail was answered with 500 Internal Server Error"),
        ("/slow?seconds=60", "the canary /slow?seconds=60 was not answered within 0.2 s"),
        ("/stream?seconds=60", "the canary /stream?seconds=60 was not answered within 0.2 s"),
    ],
)
def test_a_worker_that_does_not_is_never_ready(variant: Variant, url: str, why: str) -> None:
    options = ("--canary", url, "--canary-timeout", "0.2", "--loop", variant.loop)
    with run_worker(*options, python=variant.python, environment=UNPROVEN, ready=False) as worker:
        assert worker.ended() == 1
        assert why in worker.journal
        assert "shutdown" in worker.journal  # its lifespan ended as it began
        assert not any("READY=1" in message for message in worker.messages)


def test_it_says_whom_it_asks() -> None:
    request = Canary("https://www.example.com/health?deep=1", 5).request().decode()
    assert request.startswith("GET /health?deep=1 HTTP/1.1\r\nHost: www.example.com\r\n")
    assert "\r\nX-Forwarded-Proto: https\r\n" in request
    assert "\r\nHost: localhost\r\n" in Canary("/health", 5).request().decode()


ONLY_HTTPS = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        status = 200 if scope["scheme"] == "https" else 307
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""


@pytest.mark.parametrize("trusted", ["127.0.0.1", "192.0.2.1"])
def test_an_application_that_redirects_to_https_is_asked_as_if_it_came_so(
    variant: Variant, trusted: str, tmp_path: Path
) -> None:
    (tmp_path / "only_https.py").write_text(ONLY_HTTPS)
    options = ("--canary", "https://www.example.com/", "--loop", variant.loop)
    environment = {**UNPROVEN, "FORWARDED_ALLOW_IPS": trusted}
    with (
        run_worker(
            *options,
            app="only_https:app",
            directory=tmp_path,
            python=variant.python,
            environment=environment,
        ) as worker,
        worker.client() as client,
    ):
        assert client.get()[0] == 307  # nobody else is


def test_a_proven_version_is_not_asked(loop: str) -> None:
    # What the canary depends on may be away when a worker comes back from a crash.
    with run_worker("--canary", "/fail", "--loop", loop) as worker, worker.client() as client:
        assert client.get()[0] == 200


def test_a_worker_that_is_stopped_while_it_is_asked_ends_well(loop: str) -> None:
    options = ("--canary", "/slow?seconds=60", "--canary-timeout", "60", "--loop", loop)
    began = time.monotonic()
    with run_worker(*options, environment=UNPROVEN, ready=False) as worker:
        worker.line("start-up")
        worker.terminate()
        assert worker.ended() == 0
        assert not any("READY=1" in message for message in worker.messages)
    assert time.monotonic() - began < 30
