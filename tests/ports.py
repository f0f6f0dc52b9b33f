"""Ports for tests."""

import random
import socket

# Below the ports that the kernel gives to clients (ip_local_port_range starts at 32768): a client of a
# test must not come to sit on a port that a listener is about to open.
RANGE = range(20000, 32000)


def free_port() -> int:
    """A TCP port that nobody uses on 127.0.0.1."""
    for port in random.sample(RANGE, len(RANGE)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port of 127.0.0.1 from {RANGE.start} to {RANGE.stop - 1}")
