"""The thread that renews leases, and that looks for a server that went away.

A thread, not a task: a lease must be kept while the event loop, or a plain function, is busy for long.
"""

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from svc.cluster.hosts.server import Server

LOOK = 0.25
"""Seconds between two looks at a server that is away, and at the leases."""


class Kept(Protocol):
    """What is renewed."""

    def renew(self) -> None:
        """Renew if it is time."""


class Keeper:
    """One thread for a server, which runs while there is something for it to do."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._lock = threading.Lock()
        self._kept: set[Kept] = set()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def keep(self, kept: Kept) -> None:
        """Renew this from now on."""
        with self._lock:
            self._kept.add(kept)
        self.wake()

    def forget(self, kept: Kept) -> None:
        """Renew it no more."""
        with self._lock:
            self._kept.discard(kept)

    def wake(self) -> None:
        """See to it that the thread runs. A process that was forked has none yet."""
        with self._lock:
            if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="svc-keeper", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End."""
        self._closed.set()
        with self._lock:
            self._kept.clear()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while not self._closed.wait(LOOK):
            if self._server.away:
                self._server.probe()
            with self._lock:
                kept = list(self._kept)
                if not kept and not self._server.away:
                    self._thread = None
                    return
            for one in kept:
                one.renew()
