"""Loading an application, and finding out what it is."""

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from svc.worker import application
from svc.worker.application import Interface
from svc.worker.log import WorkerError
from tests.unit.worker.process import run_worker


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An application's directory, first on the path; its modules are forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    application.add_directory(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_attributes_of_attributes(folder: Path) -> None:
    (folder / "site1.py").write_text("class Site:\n    app = staticmethod(len)\nsite = Site()\n")
    assert application.load("site1:site.app", str(folder)) is len


@pytest.mark.parametrize("target", ["site", "site:", ":app", ""])
def test_a_target_that_is_none(target: str) -> None:
    with pytest.raises(WorkerError, match=r"write module:attribute, for example mysite\.asgi:application"):
        application.load(target, "/srv")


def test_a_missing_module_names_directory_and_interpreter(folder: Path) -> None:
    with pytest.raises(WorkerError) as error:
        application.load("mysite.asgi:app", str(folder))
    assert "no module named 'mysite'" in str(error.value)
    assert str(folder) in str(error.value)
    assert sys.executable in str(error.value)


def test_a_missing_module_of_the_applications_own_is_its_own_error(folder: Path) -> None:
    (folder / "site2.py").write_text("import surely_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        application.load("site2:app", str(folder))


def test_a_missing_attribute_names_the_nearest(folder: Path) -> None:
    (folder / "site3.py").write_text("def application(environ, start_response): ...\ndef other(): ...\n")
    with pytest.raises(WorkerError, match=r"site3 has no attribute 'aplication'; it has application$"):
        application.load("site3:aplication", str(folder))
    with pytest.raises(WorkerError, match=r"site3 has no attribute 'x'; it has application, other$"):
        application.load("site3:x", str(folder))


def test_what_cannot_be_called(folder: Path) -> None:
    (folder / "site4.py").write_text("app = 'text'\n")
    with pytest.raises(WorkerError, match="is a str, which cannot be called"):
        application.load("site4:app", str(folder))


def test_a_package_called_svc(folder: Path) -> None:
    with pytest.raises(WorkerError, match="the name svc is taken"):
        application.load("svc.wsgi:app", str(folder))


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


def asgi_in_disguise(scope: Any, receive: Any, send: Any) -> Any:
    return asgi(scope, receive, send)


def wsgi(_environ: Any, _start_response: Any) -> list[bytes]:
    return []


def optional(_environ: Any, _start_response: Any, _debug: bool = False) -> list[bytes]:
    return []


def decorated(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapper(*args: Any, **more: Any) -> Any:
        return call(*args, **more)

    return wrapper


def hidden(*_args: Any, **_more: Any) -> Any:
    return None


class AsyncInstance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class PlainInstance:
    def __call__(self, _environ: Any, _start_response: Any) -> list[bytes]:
        return []


class AssignedCall:
    """Chooses its own __call__ when it is made, as some middleware does."""

    __slots__ = ("__call__",)

    def __init__(self) -> None:
        self.__call__ = asgi


class AsgiClass:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Iterator[None]:
        yield None


class WsgiClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...

    def __iter__(self) -> Iterator[bytes]:
        yield b""


class Asgi2:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


def with_config(_config: object, _scope: Any, _receive: Any, _send: Any) -> Any:
    return None


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (asgi, Interface.ASGI),
        (asgi_in_disguise, Interface.ASGI),
        (decorated(asgi), Interface.ASGI),
        (functools.partial(asgi), Interface.ASGI),
        (functools.partial(with_config, None), Interface.ASGI),
        (AsyncInstance(), Interface.ASGI),
        (AssignedCall(), Interface.ASGI),
        (AsgiClass, Interface.ASGI),
        (wsgi, Interface.WSGI),
        (optional, Interface.WSGI),
        (decorated(wsgi), Interface.WSGI),
        (functools.partial(wsgi), Interface.WSGI),
        (functools.partial(optional, _debug=True), Interface.WSGI),
        (PlainInstance(), Interface.WSGI),
        (PlainInstance().__call__, Interface.WSGI),
        (WsgiClass, Interface.WSGI),
    ],
)
def test_asgi_or_wsgi(app: Any, expected: Interface) -> None:
    assert application.interface_of("site:app", app) is expected


def test_frameworks() -> None:
    from flask import Flask
    from starlette.applications import Starlette
    from werkzeug.middleware.proxy_fix import ProxyFix

    flask = Flask("site")
    assert application.interface_of("site:app", flask) is Interface.WSGI
    assert application.interface_of("site:app", flask.wsgi_app) is Interface.WSGI
    assert application.interface_of("site:app", ProxyFix(flask.wsgi_app)) is Interface.WSGI
    assert application.interface_of("site:app", Starlette()) is Interface.ASGI


@pytest.mark.parametrize("app", [Asgi2, lambda _: None])
def test_asgi_2_is_refused_with_the_cure(app: Any) -> None:
    with pytest.raises(WorkerError, match="guarantee_single_callable"):
        application.interface_of("site:app", app)


@pytest.mark.parametrize("app", [hidden, lambda: None, lambda _a, _b, _c, _d: None])
def test_what_could_be_both_or_neither_asks_for_the_setting(app: Any) -> None:
    with pytest.raises(WorkerError, match='set interface = "asgi" or interface = "wsgi"'):
        application.interface_of("site:app", app)


def worker_fails(folder: Path, text: str, *arguments: str, **environment: str) -> str:
    """The journal of a worker that cannot start; it must have ended with 1, without READY=1."""
    (folder / "broken.py").write_text(text)
    with run_worker(
        *arguments, app="broken:app", directory=folder, environment=environment, ready=False
    ) as worker:
        assert worker.ended() == 1
        assert worker.messages == []
        return worker.journal


def test_a_syntax_error_is_shown_in_full(tmp_path: Path) -> None:
    journal = worker_fails(tmp_path, "def app(environ, start_response)\n    return []\n")
    assert '<3>  File "' in journal
    assert "<3>SyntaxError: expected ':'" in journal
    assert "<3>demo: app = 'broken:app' could not be imported" in journal


def test_a_module_that_exits_says_where(tmp_path: Path) -> None:
    journal = worker_fails(tmp_path, "import sys\nsys.exit(0)\n")
    assert "<3>SystemExit: 0" in journal
    assert "broken.py" in journal


def test_a_wrong_attribute_is_one_line(tmp_path: Path) -> None:
    journal = worker_fails(tmp_path, "def application(environ, start_response): ...\n")
    assert journal == "<3>demo: app = 'broken:app': broken has no attribute 'app'; it has application\n"


@pytest.mark.parametrize("how", ["raise", "message"])
def test_a_failed_start_up_ends_the_worker(how: str) -> None:
    with run_worker(environment={"STARTUP_FAILS": how}, ready=False) as worker:
        assert worker.ended() == 1
        assert worker.messages == []
    reason = "LookupError: the database is not there" if how == "raise" else "no licence found"
    assert f"<3>{reason}\n" in worker.journal
    assert f"<3>demo: the application's start-up failed: {reason}\n" in worker.journal


def test_modules_named_like_ours_do_no_harm(tmp_path: Path) -> None:
    for name in ("svc", "asyncio", "uvicorn", "logging", "http"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    (tmp_path / "site5.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    await send({'type': 'http.response.start', 'status': 204, 'headers': []})\n"
        "    await send({'type': 'http.response.body'})\n"
    )
    with run_worker(app="site5:app", directory=tmp_path) as worker, worker.client() as client:
        client.ask()
        assert client.answer(bodiless=True)[0] == 204


def test_what_is_not_installed_is_named_with_the_command(tmp_path: Path) -> None:
    python = tmp_path / "empty" / "bin" / "python"
    import venv

    venv.create(tmp_path / "empty", with_pip=False)
    with run_worker(python=str(python), ready=False) as worker:
        assert worker.ended() == 1
    assert worker.journal == (
        f"<3>demo: {python} has no uvicorn and no sdnotify; "
        f"install with: {python} -m pip install --upgrade uvicorn sdnotify\n"
    )


def test_the_applications_logging_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "logs.py").write_text(
        "import logging.config\n"
        "logging.config.dictConfig({'version': 1, 'formatters': {'f': {'format': 'MINE %(message)s'}},\n"
        "    'handlers': {'h': {'class': 'logging.StreamHandler', 'formatter': 'f'}},\n"
        "    'root': {'handlers': ['h'], 'level': 'INFO'}})\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    logging.getLogger('shop').info('sold')\n"
        "    raise RuntimeError('out of stock')\n"
    )
    with run_worker(app="logs:app", directory=tmp_path) as worker, worker.client() as client:
        assert client.get()[0] == 500
        journal = worker.line("RuntimeError: out of stock")
        assert "MINE sold\nMINE Exception in ASGI application" in journal
        assert journal.count("Exception in ASGI application") == 1


ANSWERS = {
    "asgi": (
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    await send({'type': 'http.response.start', 'status': 204, 'headers': []})\n"
        "    await send({'type': 'http.response.body'})\n"
    ),
    "wsgi": ("def app(environ, start_response):\n    start_response('204 No Content', [])\n    return []\n"),
}
HANDLER = (
    "logging.config.dictConfig({'version': 1, 'formatters': {'f': {'format': 'ACCESS %(message)s'}},\n"
    "    'handlers': {'h': {'class': 'logging.StreamHandler', 'formatter': 'f'}},\n"
    "    'loggers': {'uvicorn.access': {'handlers': ['h']}}})\n"
)
LEVEL = "logging.getLogger('uvicorn.access').setLevel(logging.INFO)\n"
ROOT = "logging.basicConfig(level=logging.INFO, format='ROOT %(message)s')\n"


@pytest.mark.parametrize("interface", ANSWERS)
@pytest.mark.parametrize(
    ("configured", "line"),
    [
        (LEVEL, '<6>{} - "GET /shop?page=2 HTTP/1.1" 204\n'),
        (HANDLER, 'ACCESS {} - "GET /shop?page=2 HTTP/1.1" 204\n'),
        (ROOT + LEVEL, 'ROOT {} - "GET /shop?page=2 HTTP/1.1" 204\n'),
        (ROOT, ""),
        ("", ""),
    ],
    ids=["level", "handler", "root and level", "root", "nothing"],
)
def test_an_application_may_ask_for_an_access_log(
    configured: str, line: str, interface: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(f"import logging.config\n{configured}{ANSWERS[interface]}")
    with run_worker(app="shop:app", directory=tmp_path) as worker, worker.client() as client:
        client.ask("/shop?page=2")
        assert client.answer(bodiless=True)[0] == 204
        host, port = client.sock.getsockname()
        worker.terminate()
        worker.ended()
    lines = [one for one in worker.journal.splitlines(keepends=True) if "/shop" in one]
    assert lines == ([line.format(f"{host}:{port}")] if line else [])


def test_logging_that_nobody_configured_gets_priorities(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text(
        "import logging\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    logging.getLogger('shop').warning('shelf\\nempty')\n"
        "    print('to standard output')\n"
        "    raise RuntimeError('out of stock')\n"
    )
    with run_worker(app="quiet:app", directory=tmp_path) as worker, worker.client() as client:
        client.get()
        assert "<4>shelf\n<4>empty\n<3>Exception in ASGI" in worker.line("RuntimeError: out of stock")
