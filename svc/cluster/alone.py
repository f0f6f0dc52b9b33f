"""Outside svc, on a laptop or in a unit test: a cluster of one worker, in a folder that goes away with it."""

import atexit
import os
import shutil
import socket
import tempfile
from pathlib import Path

from svc.cluster import place
from svc.cluster.place import Place


def take_place() -> Place:
    """Make this process worker 0 of 1."""
    folder = Path(tempfile.mkdtemp(prefix="svc-alone-"))
    (folder / "bus").mkdir()
    queue = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    queue.bind(str(folder / "bus" / "0"))
    taken = place.take("0", 1, folder, queue, alone=True)
    atexit.register(_remove, folder, queue, os.getpid())
    return taken


def _remove(folder: Path, queue: socket.socket, owner: int) -> None:
    if os.getpid() == owner:  # not a child that was forked
        queue.close()
        shutil.rmtree(folder, ignore_errors=True)
