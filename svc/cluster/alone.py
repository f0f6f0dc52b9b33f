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
    atexit.register(_remove, folder, os.getpid())
    (folder / "bus").mkdir()
    queue = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    queue.bind(str(folder / "bus" / "0"))
    return place.take("0", 1, folder, queue, alone=True)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not a child that was forked
        shutil.rmtree(folder, ignore_errors=True)
