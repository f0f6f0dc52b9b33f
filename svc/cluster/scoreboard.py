"""The scoreboard: a few cache lines for each worker, in memory that all workers and `svcctl` have mapped.

A worker writes its own record and nobody else's. That it lives is no matter of what it wrote: it holds a
lock on its record, which the kernel frees when it ends, however that comes about.

In the record of the first surge worker each of them has a byte, its state again: whoever sends to all learns
from one cache line that there are none.
"""

import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from svc.cluster import ofd, slots
from svc.cluster.slots import CAPACITY, SURGE_NAMES, SURGES, Slot, surge_number

NAME = "scoreboard-1"  # its layout's version: workers of two versions of svc meet during an upgrade
RECORD = 512
_SIZE = RECORD * (CAPACITY + SURGES)
_GENERATION = slice(128, 256)
_SURGES = slice(256, 256 + SURGES)
_NO_SURGES = bytes(SURGES)

STATES = ("", "starting", "ready", "draining")

# The words of a record, 8 bytes each.
PID, STATE, SINCE, UPDATED, CONNECTIONS, IN_FLIGHT, ANSWERED = range(7)
SENT, RECEIVED, REFUSED, MARK_INCARNATION, MARK_NUMBER = range(7, 12)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that runs. `since` is the time of its start in seconds of CLOCK_BOOTTIME."""

    slot: Slot
    pid: int
    state: str
    generation: str
    in_flight: int
    connections: int
    answered: int
    since: float
    sent: int = 0
    received: int = 0
    refused: int = 0


class Record:
    """One worker's own record, from its start to its end."""

    def __init__(self, directory: Path, slot: Slot, generation: str) -> None:
        """Take the record of `slot` in the app's runtime directory. Raises OSError."""
        self.slot = slot
        self._fd = ofd.open_file(directory / NAME)
        try:
            if os.fstat(self._fd).st_size < _SIZE:
                os.ftruncate(self._fd, _SIZE)
            start = _start(slot)
            for used in (0, start):  # where /run is full, an error now: in the memory it would be a SIGBUS
                os.posix_fallocate(self._fd, used, RECORD)
            # A predecessor that is just being collected may still hold it, for a moment.
            ofd.lock(self._fd, start)
            self._map = mmap.mmap(self._fd, _SIZE)
        except BaseException:
            os.close(self._fd)
            raise
        self._all = memoryview(self._map).cast("Q")
        self.words = self._all[start // 8 : (start + RECORD) // 8]
        self._surges = memoryview(self._map)[_SURGES]
        self._map[start + _GENERATION.start : start + _GENERATION.stop] = _text(generation)
        words = self.words
        for word in range(PID, REFUSED + 1):  # the mark stays: it tells what the predecessor had begun
            words[word] = 0
        words[PID], words[SINCE] = os.getpid(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.state("starting")

    def state(self, state: str) -> None:
        """Say what the worker is at: "starting", "ready" or "draining"."""
        self.words[STATE] = STATES.index(state)
        if number := surge_number(self.slot):
            self._surges[number - 1] = self.words[STATE]
        self._touch()

    def figures(self, connections: int, in_flight: int, answered: int) -> None:
        """Write what the worker is doing: once a second is enough."""
        words = self.words
        words[CONNECTIONS], words[IN_FLIGHT], words[ANSWERED] = connections, in_flight, answered
        self._touch()

    def _touch(self) -> None:
        self.words[UPDATED] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def says(self, slot: Slot) -> str:
        """Return what another worker last said of itself; "" when it ended in good order, or never began."""
        return STATES[self._all[_start(slot) // 8 + STATE]]

    def surges(self) -> list[Slot]:
        """Return the surge workers that are there: in most moments none, which is found out at once."""
        there = self._surges.tobytes()
        if there == _NO_SURGES:
            return []
        return [name for name, state in zip(SURGE_NAMES, there, strict=True) if state]

    def away(self, slot: Slot) -> float:
        """Return for how many seconds another worker has not been there; 0 while it runs."""
        if slot == self.slot or ofd.is_locked(self._fd, _start(slot)):
            return 0.0
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return (now - self._all[_start(slot) // 8 + UPDATED]) / 1e9

    def close(self) -> None:
        """Give the record up."""
        self.state("")
        self.words.release()
        self._surges.release()
        self._all.release()
        self._map.close()
        os.close(self._fd)


def read(directory: Path) -> Iterator[Worker]:
    """Yield the workers that run, by slot, surge workers last. `svcctl` may read any app's as root."""
    try:
        fd = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # no worker has started since the host did
    try:
        for place in sorted(_places(os.fstat(fd).st_size, fd), key=lambda place: (place == 0, place)):
            if ofd.is_locked(fd, RECORD * place):
                yield _worker(slots.of_record(place), os.pread(fd, RECORD, RECORD * place))
    finally:
        os.close(fd)


def _places(size: int, fd: int) -> Iterator[int]:
    # Most of the file was never written, and is a hole.
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break  # nothing but a hole is left
        end = os.lseek(fd, at, os.SEEK_HOLE)
        yield from range(at // RECORD, end // RECORD)
        at = end


def _start(slot: Slot) -> int:
    return RECORD * slots.record(slot)


def _worker(slot: Slot, record: bytes) -> Worker:
    words = memoryview(record).cast("Q")
    return Worker(
        slot=slot,
        pid=words[PID],
        state=STATES[words[STATE]] if words[STATE] < len(STATES) else "",
        generation=record[_GENERATION].rstrip(b"\0").decode("utf-8", "replace"),
        in_flight=words[IN_FLIGHT],
        connections=words[CONNECTIONS],
        answered=words[ANSWERED],
        since=words[SINCE] / 1e9,
        sent=words[SENT],
        received=words[RECEIVED],
        refused=words[REFUSED],
    )


def _text(generation: str) -> bytes:
    size = _GENERATION.stop - _GENERATION.start
    return generation.encode()[:size].ljust(size, b"\0")
