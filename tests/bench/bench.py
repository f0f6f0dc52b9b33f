"""What every part is given: how many runs, a place to say how it goes, ports, the throwaway systemd."""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

PORTS = range(18400, 18600)
T = TypeVar("T")


class NobodyError(Exception):
    """No server of a part has one of the names that were asked for."""


@dataclass
class Bench:
    """One run of one part."""

    part: str
    runs: int
    only: tuple[str, ...] = ()
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _ports: Iterator[int] = field(default_factory=lambda: itertools.cycle(PORTS))
    _began: float = field(default_factory=time.monotonic)

    def port(self) -> int:
        """The next port; a server never gets the one of the server before it."""
        return next(self._ports)

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that ONLY= lets through, in their order. Raises NobodyError."""
        found = [name for name in names if not self.only or name in self.only]
        if not found:
            raise NobodyError(
                f"ONLY={';'.join(self.only)}: the servers of {self.part} are {'; '.join(names)}"
            )
        return found

    def rounds(self, contestants: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Everybody once, then everybody again …: what disturbs the machine disturbs all alike."""
        for run in range(1, self.runs + 1):
            for contestant in contestants:
                yield run, contestant

    def say(self, run: int, what: str) -> None:
        """A line of progress."""
        seconds = time.monotonic() - self._began
        print(f"{self.part:<9} {run}/{self.runs} {seconds:5.0f} s  {what}", file=sys.stderr, flush=True)
