"""Drives the load generator (loadgen.c), which is compiled when it is first needed."""

import contextlib
import select
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.measure import percentile

SOURCE = Path(__file__).with_name("loadgen.c")
BINARY = Path(__file__).resolve().parents[2] / "build" / "bench" / "loadgen"
RECORD = struct.Struct("ddiiiiii")
TOTALS = struct.Struct("ii")
ERRORS = (
    "",
    "connection refused",
    "no connection",
    "reset by the server",
    "closed without an answer",
    "answer cut off",
    "timeout",
    "bad status",
    "malformed answer",
)


class LoadError(Exception):
    """The load generator cannot be compiled, or did not run."""


@dataclass(frozen=True)
class Options:
    """What to ask; the rate is in requests a second, times are in seconds. A rate of 0 is a closed loop.

    `connections` is how many there are at most, whether they are kept or new for each request.
    `slow_share` of the requests go to `slow_path`. A body of `body` bytes is sent in `pieces` over
    `piece_seconds`.
    """

    port: int
    rate: float = 0.0
    connections: int = 50
    path: str = "/"
    slow_path: str = "/"
    slow_share: float = 0.0
    body: int = 0
    pieces: int = 1
    piece_seconds: float = 0.0
    timeout: float = 30.0
    keep_alive: bool = False
    poisson: bool = False
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: when it was scheduled (time.monotonic()), how long it took, which process answered."""

    start: float
    latency: float
    status: int
    error: str
    pid: int
    connection: int
    slow: bool


@dataclass(frozen=True)
class Seen:
    """All that a load saw."""

    answers: tuple[Answer, ...]
    opened: int
    reconnects: int

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return sum(1 for answer in self.answers if answer.error)

    def between(self, start: float, end: float) -> "Seen":
        """Those that were scheduled in a time."""
        return self.where(lambda answer: start <= answer.start < end)

    def where(self, wanted: Callable[[Answer], bool]) -> "Seen":
        """Those for which `wanted` holds."""
        return Seen(tuple(filter(wanted, self.answers)), self.opened, self.reconnects)

    def latency(self, percent: float) -> float:
        """A percentile in milliseconds; failed requests count, a client waited for them too."""
        return 1000 * percentile(self.latencies(), percent)

    def longest(self) -> float:
        """The longest, in milliseconds."""
        return self.latency(100)

    def latencies(self) -> list[float]:
        """All, in seconds, in order."""
        return sorted(answer.latency for answer in self.answers)

    def errors(self) -> dict[str, int]:
        """How often each kind of failure was seen."""
        counts: dict[str, int] = {}
        for answer in self.answers:
            if answer.error:
                counts[answer.error] = counts.get(answer.error, 0) + 1
        return counts


def together(seen: Sequence[Seen]) -> Seen:
    """Several loads as one."""
    answers = tuple(answer for one in seen for answer in one.answers)
    return Seen(answers, sum(one.opened for one in seen), sum(one.reconnects for one in seen))


def build() -> Path:
    """Compile it unless that is done. Raises LoadError."""
    if BINARY.exists() and BINARY.stat().st_mtime >= SOURCE.stat().st_mtime:
        return BINARY
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    argv = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(BINARY), str(SOURCE), "-lm"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"cc failed; is gcc installed (`make deps-bench`)?\n{done.stderr}")
    return BINARY


class Load:
    """A load that is under way; use it in a `with`, and ask for what it saw by stop()."""

    def __init__(self, options: Options, *, cpu: int | None = None) -> None:
        self.options = options
        argv = [str(build()), f"--port={options.port}", f"--rate={options.rate:g}"]
        argv += [f"--connections={options.connections}", f"--path={options.path}"]
        argv += [f"--slow-path={options.slow_path}", f"--slow-share={options.slow_share:g}"]
        argv += [f"--body={options.body}", f"--pieces={options.pieces}", f"--seed={options.seed}"]
        argv += [f"--piece-seconds={options.piece_seconds:g}", f"--timeout={options.timeout:g}"]
        argv += ["--keep-alive"] * options.keep_alive + ["--poisson"] * options.poisson
        if cpu is not None:
            argv = ["taskset", "-c", str(cpu), *argv]
        self._seen: Seen | None = None
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        """Start, and return at the first answer."""
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.write(b"start\n")
        self._process.stdin.flush()
        ready = select.select([self._process.stderr], [], [], self.options.timeout + 5.0)[0]
        line = self._process.stderr.readline() if ready else b"nothing"
        if line != b"started\n":
            self._process.kill()
            self._process.communicate()
            raise LoadError(f"the load generator did not start: {line.decode(errors='replace')}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._seen is None:
            self._process.kill()
            self._process.communicate()

    def stop(self) -> Seen:
        """Start no more requests, wait for those under way, and return all that was seen."""
        if self._seen is None:
            data, said = self._process.communicate(b"end\n", self.options.timeout + 10.0)
            if self._process.returncode:
                raise LoadError(f"the load generator failed: {said.decode(errors='replace')}")
            self._seen = parse(data)
        return self._seen


def parse(data: bytes) -> Seen:
    """Read what the generator writes."""
    opened, reconnects = TOTALS.unpack_from(data)
    rows = RECORD.iter_unpack(data[TOTALS.size :])
    answers = tuple(
        Answer(start, latency, status, ERRORS[error], pid, connection, bool(slow))
        for start, latency, status, error, pid, connection, slow, _ in rows
    )
    return Seen(answers, opened, reconnects)


@contextlib.contextmanager
def loads(*options: Options) -> Iterator[list[Load]]:
    """Several loads at the same time."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Load(one)) for one in options]


def drive(options: Options, seconds: float) -> Seen:
    """One load for so many seconds."""
    with Load(options) as load:
        time.sleep(seconds)
        return load.stop()
