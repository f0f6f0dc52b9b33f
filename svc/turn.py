"""The turn: who may be away. One worker of an app at a time replaces itself, and none during a rollout.

The turn is a lock, flock(2), on the folder where the workers of the app meet. A worker that replaces itself
has it alone. It belongs to the open file and not to the process: so the worker leaves a descriptor of it
with systemd, its successor gets that one, and gives the turn back when it is ready. The kernel frees it when
nobody has it open any more: when systemd was told to stop that worker.

All others share the turn, which keeps workers from replacing themselves: a rollout for as long as it runs,
and a successor that did not become ready, for as long as none does. So a version that cannot start takes no
second worker away, and does not keep the rollout waiting that mends it.

The folder itself is locked, because only root decides where it is. A file in it could be replaced by its
owner, the app's user, before root opens it.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: the worker replaces itself, and wants its successor at once
POLL_SECONDS = 0.1  # flock(2) cannot wait for a limited time


def folder_of(name: str, *, user_scope: bool, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the workers of the app `name` meet, as those see it who are no worker."""
    base = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}" if user_scope else "/run"
    return Path(base) / "svc" / name


def take(folder: Path) -> int | None:
    """Take the turn: the descriptor that holds it, or None when it is not free. Raises OSError."""
    return _lock(folder, fcntl.LOCK_EX)


def give_back(fd: int) -> None:
    """Give the turn back, whoever else has a copy of its descriptor, and close ours."""
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def share(fd: int) -> None:
    """Let a rollout go on from now, and still no worker."""
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


@contextlib.contextmanager
def shared(folder: Path, patience: float, wait: Callable[[], None]) -> Iterator[bool]:
    """Share the turn inside `with`, and say whether it was had. `wait` is called once if a worker has it.

    False after `patience` seconds, because a worker that never gets ready must not keep its own repair from
    being rolled out. True where there is no folder to lock: then no worker has run since the host started.
    """
    deadline = time.monotonic() + patience
    fd: int | None = None
    waiting = False
    try:
        while (fd := _lock(folder, fcntl.LOCK_SH)) is None and time.monotonic() < deadline:
            if not waiting:
                wait()
                waiting = True
            time.sleep(POLL_SECONDS)
        had = fd is not None
    except OSError:
        had = True
    try:
        yield had
    finally:
        if fd is not None:
            os.close(fd)


def _lock(folder: Path, how: int) -> int | None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd
