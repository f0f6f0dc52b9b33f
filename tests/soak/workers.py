"""The processes of a machine's workers, seen from the host: what they hold, and their end."""

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.machine import Machine

ESTABLISHED, CLOSE_WAIT = "01", "08"  # proc_net_tcp: states of a connection that still is to be answered


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: between these moments of time.monotonic() the workers died, holding so many connections."""

    began: float
    ended: float
    held: int


def on_host(machine: Machine, inner: Iterable[int]) -> list[int]:
    """Return the processes that the machine numbers so, as the host numbers them."""
    namespace = Path(f"/proc/{machine.leader}/ns/pid").readlink()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            if (entry / "ns/pid").readlink() == namespace:
                numbers = re.search(r"^NSpid:.*?(\d+)$", (entry / "status").read_text(), re.MULTILINE)
                if numbers:
                    found[int(numbers[1])] = int(entry.name)
    return [found[pid] for pid in inner if pid in found]


def kill(pids: Iterable[int], port: int) -> Kill:
    """SIGKILL processes of the host, all at once, and return when they are gone.

    They are stopped first, so that what they hold can be counted while it does not change: the
    connections to `port` that they have accepted. What they have not is the kernel's, and nobody's loss.
    """
    began = time.monotonic()
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles.append((pid, os.pidfd_open(pid)))
    try:
        for _, handle in handles:
            _signal(handle, signal.SIGSTOP)
        held = sum(connections(pid, port) for pid, _ in handles)
        for _, handle in handles:
            _signal(handle, signal.SIGKILL)
        for _, handle in handles:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            poll.poll()
    finally:
        for _, handle in handles:
            os.close(handle)
    return Kill(began, time.monotonic(), held)


def stop(pids: Iterable[int]) -> None:
    """SIGSTOP processes of the host."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def go_on(pids: Iterable[int]) -> None:
    """SIGCONT processes of the host."""
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def _signal(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        signal.pidfd_send_signal(handle, number)


def connections(pid: int, port: int) -> int:
    """How many accepted connections to a local port a process holds."""
    accepted = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if int(local.rpartition(":")[2], 16) == port and state in (ESTABLISHED, CLOSE_WAIT):
            accepted.add(f"socket:[{inode}]")
    found = 0
    with contextlib.suppress(OSError):  # it ended while we looked
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found += str(descriptor.readlink()) in accepted
    return found
