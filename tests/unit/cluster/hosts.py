"""What the tests of several hosts share."""

import time

from svc.cluster.hosts.server import Server


def back(server: Server) -> None:
    """Return when the server that was away has been found again."""
    deadline = time.monotonic() + 30
    while server.away:
        assert time.monotonic() < deadline
        time.sleep(0.01)
