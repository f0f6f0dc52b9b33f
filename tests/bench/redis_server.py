"""A Redis server to measure against."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import peers

PATIENCE = 60.0  # seconds for its start


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run a Redis server that keeps nothing on disk; yield the path of its socket."""
    with tempfile.TemporaryDirectory(prefix="svc-bench-") as folder:
        path = Path(folder) / "redis"
        options = {"port": "0", "unixsocket": str(path), "save": "", "appendonly": "no", "dir": folder}
        argv = [word for name, value in options.items() for word in (f"--{name}", value)]
        server = subprocess.Popen([peers.tool("redis-server"), *argv], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + PATIENCE
            while not path.is_socket():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise peers.ServerError("redis-server did not come up")
                time.sleep(0.01)
            yield str(path)
        finally:
            server.terminate()
            server.wait()
