"""The servers that are compared, each at its best documented settings, and how to start and end them.

All run on the host, on loopback, in the same interpreter with the same event loop (uvloop) and, where
one can be chosen, the same parser (httptools). Access logs are off everywhere.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import proc
from tests.client import get

ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).parent / "apps"
PYTHON = Path(os.environ.get("BENCH_PYTHON", ROOT / ".venv-bench" / "bin" / "python")).absolute()
PM2 = ROOT / "build" / "bench-node" / "node_modules" / "pm2" / "bin"
BACKLOG = 2048
PATIENCE = 30.0  # seconds for a start or an end


class ServerError(Exception):
    """A server did not come up."""


@dataclass(frozen=True)
class Site:
    """What a server is to serve: `app` is a module in tests/bench/apps, which has `asgi` and `wsgi`."""

    app: str
    port: int
    workers: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    cpu: int | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What a client asks for."""
        return f"http://{self.address}/"


@dataclass(frozen=True)
class Peer:
    """A server: its name in tables, its command line, and what makes it reload."""

    name: str
    argv: Callable[[Site], list[str]]
    reload: signal.Signals | tuple[str, ...] = signal.SIGHUP
    listener: bool = False  # whether it is handed its listener, as systemd does


def svc(interface: str, loop: str = "auto") -> Peer:
    """A worker of svc, started as its unit starts it."""

    def argv(site: Site) -> list[str]:
        app = ["--app", f"{site.app}:{interface}", "--interface", interface, "--loop", loop]
        return [str(PYTHON), "-P", "-m", "svc.worker", "bench", "0", *app]

    return Peer(f"svc {interface}" + ("" if loop == "auto" else f" ({loop})"), argv, listener=True)


def uvicorn(loop: str = "uvloop") -> Peer:
    """Uvicorn alone, without what svc does not do either (proxy headers, server header, access log)."""

    def argv(site: Site) -> list[str]:
        options = ["--loop", loop, "--http", "httptools", "--workers", str(site.workers)]
        options += ["--no-access-log", "--no-server-header", "--no-proxy-headers", "--log-level", "warning"]
        options += ["--host", "127.0.0.1", "--port", str(site.port), "--backlog", str(BACKLOG)]
        options += ["--timeout-keep-alive", "75"]
        return [str(PYTHON), "-m", "uvicorn", f"{site.app}:asgi", *options]

    return Peer("uvicorn" if loop == "uvloop" else f"uvicorn ({loop})", argv)


def gunicorn(kind: str, *more: str) -> Peer:
    """gunicorn: `kind` is sync, gthread or asgi."""

    def argv(site: Site) -> list[str]:
        interface = "asgi" if kind == "asgi" else "wsgi"
        options = ["--worker-class", kind, "--workers", str(site.workers), "--bind", site.address]
        options += ["--backlog", str(BACKLOG), "--keep-alive", "75", "--log-level", "warning", *more]
        options += ["--no-control-socket"] if _has_control_socket() else []
        return [str(PYTHON), "-m", "gunicorn", f"{site.app}:{interface}", *options]

    return Peer(f"gunicorn {kind}", argv)


def granian(interface: str) -> Peer:
    """granian: one runtime thread a worker, as its documentation advises for Python applications."""

    def argv(site: Site) -> list[str]:
        options = ["--interface", interface, "--loop", "uvloop", "--http", "1", "--no-access-log"]
        options += ["--workers", str(site.workers), "--host", "127.0.0.1", "--port", str(site.port)]
        options += ["--backlog", str(BACKLOG), "--log-level", "warning", "--respawn-failed-workers"]
        options += ["--respawn-interval", "0.1"]
        if interface == "wsgi":
            options += ["--blocking-threads", "1", "--no-ws"]
        return [str(PYTHON), "-m", "granian", f"{site.app}:{interface}", *options]

    return Peer(f"granian {interface}", argv)


def hypercorn() -> Peer:
    """Hypercorn with its uvloop worker."""

    def argv(site: Site) -> list[str]:
        options = ["--worker-class", "uvloop", "--workers", str(site.workers), "--bind", site.address]
        options += ["--backlog", str(BACKLOG), "--keep-alive", "75", "--log-level", "warning"]
        return [str(PYTHON), "-m", "hypercorn", f"{site.app}:asgi", *options]

    return Peer("hypercorn", argv)


def node() -> Peer:
    """Node's http server, one process."""
    return Peer("Node", lambda site: [tool("node"), str(APPS / f"{site.app}.js")])


def node_cluster() -> Peer:
    """Node's cluster module, with a staggered restart at SIGUSR2."""
    return Peer("Node cluster", lambda _: [tool("node"), str(APPS / "cluster.js")], signal.SIGUSR2)


def pm2() -> Peer:
    """PM2's cluster mode: waits for the readiness of a worker and gives it time to end."""
    argv = [tool("node"), str(PM2 / "pm2-runtime"), "start", str(APPS / "pm2.config.js")]
    return Peer("PM2", lambda _: argv, (tool("node"), str(PM2 / "pm2"), "reload", "all"))


def reference(way: str) -> Peer:
    """A plain way to accept, `reuseport` or `shared`, with next to no server around it."""

    def argv(site: Site) -> list[str]:
        return [str(PYTHON), "-m", "tests.bench.reference", way, str(site.port), str(site.workers)]

    return Peer({"reuseport": "plain SO_REUSEPORT", "shared": "one shared listener"}[way], argv)


def tool(name: str) -> str:
    """The path of a command. Raises ServerError without it."""
    path = shutil.which(name)
    if path is None:
        raise ServerError(f"{name} is missing; run `make deps-bench`")
    return path


def _has_control_socket() -> bool:
    """Gunicorn from 25 on opens a control socket in the home unless it is told not to."""
    config = next(PYTHON.parent.parent.glob("lib/python*/site-packages/gunicorn/config.py"), None)
    return config is not None and "no-control-socket" in config.read_text("utf-8")


# Becomes the server in the same process, because LISTEN_PID must name it.
_LAUNCHER = """
import os, sys
given = int(sys.argv[1])
if given != 3:
    os.dup2(given, 3)
    os.close(given)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Running:
    """A server that runs, seen from outside."""

    peer: Peer
    site: Site
    process: "subprocess.Popen[bytes]"
    env: Mapping[str, str]

    def pids(self) -> list[int]:
        """All its processes."""
        return proc.tree(self.process.pid)

    def cpu_seconds(self) -> float:
        """What they have used so far."""
        return proc.cpu_seconds(self.pids())

    def workers(self) -> list[int]:
        """Its processes but the first, and but multiprocessing's helpers, which live as long as that."""
        return [pid for pid in self.pids()[1:] if not proc.is_helper(pid)]

    def reload(self) -> None:
        """Make it replace its workers; returns when the old ones have ended, or after PATIENCE."""
        handles = [os.pidfd_open(pid) for pid in self.workers()]
        try:
            if isinstance(self.peer.reload, signal.Signals):
                self.process.send_signal(self.peer.reload)
            else:
                subprocess.run(self.peer.reload, env=self.env, check=False, capture_output=True, timeout=60)
            deadline, left = time.monotonic() + PATIENCE, list(handles)
            while left and (seconds := deadline - time.monotonic()) > 0:
                ended = select.select(left, [], [], seconds)[0]
                left = [handle for handle in left if handle not in ended]
        finally:
            for handle in handles:
                os.close(handle)


@contextlib.contextmanager
def running(peer: Peer, site: Site) -> Iterator[Running]:
    """Start a server, wait for its first answer, and end all of it afterwards."""
    home = tempfile.TemporaryDirectory(prefix="svc-bench-")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": home.name,
        "PM2_HOME": home.name,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([str(APPS), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NODE_ENV": "production",
        "PORT": str(site.port),
        "WORKERS": str(site.workers),
        **site.env,
    }
    argv = peer.argv(site)
    if site.cpu is not None:
        argv = [tool("taskset"), "-c", str(site.cpu), *argv]
    with home, contextlib.ExitStack() as stack:
        passed: list[int] = []
        if peer.listener:
            sock = stack.enter_context(listener(site.port))
            passed = [sock.fileno()]
            env |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
            argv = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(sock.fileno()), *argv]
        log = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(
            argv, env=env, cwd=APPS, pass_fds=passed, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        stack.callback(end, process)
        try:
            wait_answers(site.url, process)
        except ServerError as error:
            log.seek(0)
            said = log.read()[-2000:].decode(errors="replace")
            raise ServerError(f"{peer.name}: {error}; it said:\n{said}") from None
        yield Running(peer, site, process, env)


def listener(port: int) -> socket.socket:
    """A listening socket, as a socket unit makes one."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def wait_answers(url: str, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait for the first good answer. Raises ServerError when the process ends, or none comes."""
    deadline = time.monotonic() + PATIENCE
    said = "nothing"
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise ServerError(f"it ended with status {process.returncode} before its first answer")
        record = get(url, timeout=5.0)
        if not record.failed:
            return
        said = record.error
        time.sleep(0.02)
    raise ServerError(f"no answer from {url} in {PATIENCE:g} s: {said}")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a server that runs in a session of its own: politely, then the whole group."""
    pids = proc.tree(process.pid)
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pid in pids:  # what went into a session of its own
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
