"""Clients of many kinds that visit one app, again and again, while a test does things to its workers.

    with visiting(site, {"curl": curl, "requests": requests_session}) as visitors:
        app.systemctl("reload", "app.target")
        visitors.wait()    # each of them has come to the end of a visit

A kind of client is a generator function: it keeps what it wants from visit to visit (a session, a
connection), yields after each visit, and raises what it should not have seen.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

PATIENCE = 60.0  # seconds after which a test gives up on a visit


@dataclass(frozen=True, slots=True)
class Site:
    """Where the app is."""

    port: int

    @property
    def url(self) -> str:
        """What its paths are added to."""
        return f"http://127.0.0.1:{self.port}"


Visits = Callable[[Site], Iterator[None]]


class VisitFailedError(AssertionError):
    """A client saw what it should not have seen; the text begins with its kind."""


@dataclass(slots=True)
class Visitors:
    """Clients, each in a thread of its own. Counts are of visits that came to their end."""

    counts: dict[str, int] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _failed: "tuple[str, BaseException] | None" = None
    _leaving: bool = False

    def come(self, site: Site, kinds: Mapping[str, Visits]) -> None:
        """Let one client of each kind begin."""
        for name, visits in kinds.items():
            self.counts[name] = 0
            thread = threading.Thread(target=self._visit, args=(name, visits(site)), name=name)
            self._threads.append(thread)
            thread.start()

    def wait(self) -> None:
        """Wait until each has ended a visit that may be under way. Raises VisitFailedError if one failed."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            goals = {name: count + 1 for name, count in self.counts.items()}
            while late := [name for name, goal in goals.items() if self.counts[name] < goal]:
                self._raise_failure()
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"no visit came to its end within {PATIENCE:g} s: {', '.join(late)}")
            self._raise_failure()

    def leave(self) -> None:
        """Wait for the end of the visits that are under way."""
        self._leaving = True
        for thread in self._threads:
            thread.join()

    def _visit(self, name: str, visits: Iterator[None]) -> None:
        try:
            with closing(visits):  # type: ignore[type-var] # generators, all of them
                for _ in visits:
                    with self._changed:
                        self.counts[name] += 1
                        self._changed.notify_all()
                    if self._leaving:
                        return
        except BaseException as error:
            with self._changed:
                self._failed = self._failed or (name, error)
                self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failed is not None:
            name, error = self._failed
            visit = self.counts[name] + 1
            raise VisitFailedError(f"{name}, visit {visit}: {type(error).__name__}: {error}") from error

    def check(self) -> None:
        """Raise VisitFailedError when a visit has failed."""
        with self._changed:
            self._raise_failure()


@contextmanager
def visiting(site: Site, kinds: Mapping[str, Visits]) -> Iterator[Visitors]:
    """Clients of these kinds, each of which has been there once, and comes once more after the block.

    Raises VisitFailedError when a visit failed.
    """
    visitors = Visitors()
    visitors.come(site, kinds)
    try:
        visitors.wait()
        yield visitors
        for _ in ("the visit that is under way", "a whole one"):
            visitors.wait()
    finally:
        visitors.leave()
    visitors.check()
