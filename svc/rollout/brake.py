"""How `svcctl reload --abort` reaches the rollout: by a signal."""

import contextlib
import signal
from collections.abc import Iterator

SIGNAL = signal.SIGUSR1
"""What aborts a rollout. SIGTERM is systemd's, when the app is being stopped: then all workers go anyway."""


class Pulled(Exception):
    """The brake was pulled."""


class Brake:
    """Pulled by `SIGNAL`, from `install` on."""

    def __init__(self) -> None:
        self.pulled = False
        self._at_once = False

    def install(self) -> None:
        """Take the signal from now on."""
        signal.signal(SIGNAL, lambda _number, _frame: self.pull())

    def pull(self) -> None:
        """Stop before the next step; raises Pulled within `at_once`."""
        self.pulled = True
        if self._at_once:
            self._at_once = False  # a second signal must not disturb the cleaning up
            raise Pulled

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise Pulled the moment that the signal comes, or now when it has come."""
        self._at_once = True
        try:
            if self.pulled:
                raise Pulled
            yield
        finally:
            self._at_once = False
