"""A gentle start: what prepares leaves the CPUs to those who serve.

To import an application takes a third of a second of CPU time, or many, and on a busy host its serving
siblings would wait for that. So a worker begins with a low priority and takes its own again
when it is ready; on an idle host that costs nothing. Two priorities are lowered, see sched(7):

- the nice value of each thread, which counts among the processes of a control group. To raise it again needs
  LimitNICE= in the unit (RLIMIT_NICE, getrlimit(2)); without, it is not lowered;
- where control groups do not divide the CPUs, that of the session's autogroup, which needs no limit.

Where the slice of the workers divides the CPUs (CPUWeight= and its like), each unit has its own share and
neither counts among siblings.
"""

import contextlib
import os
import resource
from collections.abc import Callable

STEP = 5
"""How much less urgent preparing is: a third of the CPU time of a sibling that wants it. With less, a start
on a busy host would outlast `limits.start`, and siblings would miss the worker for longer."""

# The kernel takes ten writes a second from all who are not root (proc_sched_autogroup_set_nice() in
# its kernel/sched/autogroup.c).
RETRY_SECONDS = 0.1
_AUTOGROUP = "/proc/self/autogroup"

Later = Callable[[float, Callable[[], None]], object]


class Gentle:
    """The priority of this process, lowered by `begin` until `end`.

    Only in a session of its own, which systemd gives each service: the autogroup, and the process
    group that is raised, then hold nobody else.
    """

    def __init__(self) -> None:
        self._nice: int | None = None
        self._autogroup = False

    def begin(self) -> None:
        """Lower it as far as it can be raised again."""
        if os.getsid(0) != os.getpid():
            return
        now = os.getpriority(os.PRIO_PROCESS, 0)
        limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
        if limit == resource.RLIM_INFINITY or 20 - limit <= now:
            with contextlib.suppress(OSError):  # forbidden: SystemCallFilter= in the unit
                os.setpriority(os.PRIO_PROCESS, 0, min(19, now + STEP))
                self._nice = now
        self._autogroup = _write_autogroup(STEP)

    def end(self, later: Later) -> None:
        """Raise it again, for all threads and children that have come since.

        What the kernel does not take now, because others have just written, is left to `later`: it
        calls a function after so many seconds.
        """
        if self._nice is not None:
            # One of a group that must not be raised is an error only after all others have been.
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PGRP, 0, self._nice)
            self._nice = None
        if self._autogroup:
            self._autogroup = not _write_autogroup(0)
        if self._autogroup:
            later(RETRY_SECONDS, lambda: self.end(later))


def stay() -> None:
    """Lower the priority of this process for as long as it lives: it only prepares what others serve."""
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # forbidden: SystemCallFilter= in the unit
            os.nice(STEP)
        _write_autogroup(STEP)


def _write_autogroup(nice: int) -> bool:
    try:
        with open(_AUTOGROUP, "w") as file:
            file.write(str(nice))
    except OSError:  # not in this kernel, or too often
        return False
    return True


process = Gentle()
"""This process."""
