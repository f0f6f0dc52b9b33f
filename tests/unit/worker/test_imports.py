"""A worker imports what it uses, and an application finds all that there is."""

import subprocess
from pathlib import Path

from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import ROOT, Worker, run_worker

# What costs much and serves no request; it came by way of what does.
FOREIGN = {
    "difflib",
    "importlib.metadata._meta",
    "logging.handlers",
    "multiprocessing",
    "uvicorn.main",
    "uvicorn.supervisors",
}

ASGI = """
import sys
BEFORE = " ".join(sys.modules)

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer(scope["path"]).encode()})

def answer(path):
    if path == "/uvicorn":
        import importlib.metadata
        import logging.config
        import uvicorn
        from uvicorn import Config, Server
        assert Config is uvicorn.config.Config and Server is uvicorn.server.Server
        assert callable(uvicorn.run) and callable(logging.config.dictConfig)
        assert importlib.metadata.version("uvicorn") == uvicorn.__version__
        return uvicorn.__version__
    return BEFORE
"""

WSGI = """
import sys

def app(environ, start_response):
    start_response("200 OK", [])
    return [" ".join(sys.modules).encode()]
"""

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


# Imports each module of uvicorn before its package has run, then that: each in a process of its own, which
# prints what fails. Some modules need what is not installed here, whoever imports them.
EACH = """
import importlib, importlib.util, os, pkgutil, sys
from svc.worker.requirements import require

def imported(name, before):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    try:
        before()
        importlib.import_module(name)
        import uvicorn
        assert callable(uvicorn.run)
    except BaseException:
        os._exit(1)
    os._exit(0)

path = importlib.util.find_spec("uvicorn").submodule_search_locations
names = ["uvicorn." + module.name for module in pkgutil.iter_modules(path) if module.name != "__main__"]
for name in names:
    print(name, imported(name, require) or not imported(name, lambda: None))
"""


def words(worker: Worker, path: str = "/") -> set[str]:
    with worker.client() as client:
        status, _, body = client.get(path)
    assert status == 200
    return set(body.decode().split())


def test_what_is_not_used_is_not_imported(variant: Variant, tmp_path: Path) -> None:
    (tmp_path / "site.d").mkdir()
    (tmp_path / "site.d" / "lean.py").write_text(ASGI)
    with run_worker(
        app="lean:app",
        directory=tmp_path / "site.d",
        python=variant.python,
        path=[hide(tmp_path, variant.missing)],
    ) as worker:
        assert words(worker) & FOREIGN == set()
        (version,) = words(worker, "/uvicorn")
        assert version[0].isdigit()


def test_an_application_in_wsgi_needs_nothing_for_websockets(variant: Variant, tmp_path: Path) -> None:
    (tmp_path / "lean.py").write_text(WSGI)
    with run_worker(app="lean:app", directory=tmp_path, python=variant.python) as worker:
        assert not {name for name in words(worker) if name.startswith(("websockets.", "wsproto."))}


def test_a_websocket_to_an_application_in_wsgi_is_a_plain_request(variant: Variant, tmp_path: Path) -> None:
    (tmp_path / "lean.py").write_text(WSGI)
    with (
        run_worker(app="lean:app", directory=tmp_path, python=variant.python) as worker,
        worker.client() as client,
    ):
        client.ask(headers=UPGRADE)
        if variant.name == "uvicorn-0.17":  # which refuses every upgrade that it does not know
            assert client.answer()[0] == 400
            return
        assert client.answer()[0] == 200
        assert client.get()[0] == 200


def test_each_module_of_uvicorn_may_run_before_its_package(variant: Variant) -> None:
    done = subprocess.run(
        [variant.python, "-c", EACH],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    outcomes = dict(line.split() for line in done.stdout.splitlines())
    assert outcomes["uvicorn.main"] == "True"
    assert [name for name, outcome in outcomes.items() if outcome != "True"] == []
