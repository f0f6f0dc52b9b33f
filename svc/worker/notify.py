"""What a worker tells systemd, sd_notify(3). Without NOTIFY_SOCKET everything works, silently."""

import os
import socket
from typing import Protocol


class Sender(Protocol):
    """What is used of sdnotify.SystemdNotifier."""

    socket: socket.socket | None

    def notify(self, state: str) -> None:
        """Send one message."""


class Notify:
    """The messages of a worker, in the order in which they are due: READY, STATUS and WATCHDOG, STOPPING.

    RELOADING=1 is never sent: with no READY=1 after it, systemd's reload job hangs for ever.
    """

    def __init__(self, sender: Sender | None) -> None:
        self._sender = sender
        self._status = ""
        self._unsent: dict[str, str] = {}

    def _send(self, state: str) -> None:
        """Send without ever waiting: systemd may be busy reading units, and this worker has clients."""
        # A newer message of a kind stands for an older one that found no room.
        self._unsent[state.partition("=")[0]] = state
        self.flush()

    def flush(self) -> bool:
        """Send what systemd's queue had no room for; to be called now and then. True when all is sent."""
        while self._unsent and self._sender is not None:
            kind, state = next(iter(self._unsent.items()))
            try:
                self._sender.notify(state)
            except BlockingIOError:
                return False
            except OSError:
                pass  # nobody listens there, and nothing is to be done about that
            del self._unsent[kind]
        return True

    def ready(self, status: str) -> None:
        """The application has started and the listeners are registered."""
        self._status = status
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Show `status` in `systemctl status`; a text that has not changed is not sent again."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def watchdog(self) -> None:
        """The event loop is alive."""
        self._send("WATCHDOG=1")

    def keep(self, name: str, fd: int) -> bool:
        """Have systemd keep a copy of `fd` for this worker's successor (FDSTORE=1, sd_notify(3)).

        False when it cannot be told now; nothing else tells whether it has room (FileDescriptorStoreMax=).
        FDPOLL=0, because systemd would otherwise watch the descriptor for an end that a folder does not have.
        """
        if self._sender is None or self._sender.socket is None or not self.flush():
            return False
        try:
            socket.send_fds(self._sender.socket, [f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0".encode()], [fd])
        except OSError:
            return False
        return True

    def forget(self, name: str) -> None:
        """Have systemd close the descriptors that it keeps under `name`."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def close(self) -> None:
        """Close the connection to systemd."""
        if self._sender is not None and self._sender.socket is not None:
            self._sender.socket.close()

    def stopping(self, status: str) -> None:
        """The worker drains."""
        self._status = status
        self._send(f"STOPPING=1\nSTATUS={status}")


def connect() -> Notify:
    """The connection to systemd, by NOTIFY_SOCKET. The variable is removed: a child is not the worker."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return Notify(None)
    import sdnotify

    try:
        # debug: errors are raised, so that a message that found no room is sent later.
        notifier = sdnotify.SystemdNotifier(debug=True)
        notifier.socket.setblocking(False)
        notify = Notify(notifier)
    except OSError:
        notify = Notify(None)
    _take("NOTIFY_SOCKET")
    return notify


def _take(variable: str) -> str:
    """The value of an environment variable, which is removed so that children do not see it."""
    return os.environ.pop(variable, "")


def watchdog_interval() -> float | None:
    """Seconds between two signs of life: half of what systemd allows, sd_watchdog_enabled(3).

    None when systemd does not watch this process.
    """
    limit, pid = _take("WATCHDOG_USEC"), _take("WATCHDOG_PID")
    if pid and pid != str(os.getpid()):
        return None
    return int(limit) / 2_000_000 if limit.isdigit() and int(limit) > 0 else None
