"""A Redis server to measure against."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench import peers
from tests.redis_server import RedisServer


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run a Redis server that keeps nothing on disk; yield the path of its socket. Raises ServerError."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="svc-bench-")))
        try:
            server = stack.enter_context(RedisServer(folder))
        except (FileNotFoundError, RuntimeError) as error:
            raise peers.ServerError(f"redis-server did not come up: {error}") from None
        yield str(server.socket)
