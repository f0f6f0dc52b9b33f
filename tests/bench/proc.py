"""What /proc says about a server's processes: CPU time, memory, who belongs to it (proc(5))."""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += tree(int(child))
    return found


def is_helper(pid: int) -> bool:
    """Whether it is the resource tracker of Python's multiprocessing, which serves no request."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def in_cgroup(pattern: str) -> list[int]:
    """The processes whose control group matches a regular expression."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            if re.search(pattern, (entry / "cgroup").read_text()):
                found.append(int(entry.name))
    return sorted(found)


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of processes so far, user and system, with that of their children that were waited for.

    A process that has ended counts 0: take both readings of a difference while all live.
    """
    return sum(_cpu_ticks(pid) for pid in pids) / TICKS


def _cpu_ticks(pid: int) -> int:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(value) for value in after_name[11:15])  # utime, stime, cutime, cstime


def pss_bytes(pid: int) -> int:
    """Memory of a process, pages that it shares divided by the number of those who share them."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def inner_pid(pid: int) -> int:
    """The id that a process has in its own namespace, hence the one that an application answers with."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^NSpid:.*?(\d+)$", status, re.MULTILINE)
    return int(found[1]) if found else pid


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
