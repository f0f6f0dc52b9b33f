"""The journal: why a worker did not start, in one line, and what a rollout says, with fields to search by."""

import json
import socket
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

from svc.rollout.events import Message

_ERROR = 3  # syslog's priority, syslog(3)
# systemd's sd-messages.h. The first says that it failed, not why: "Failed to start app@0.service". The second
# says why, when nothing else does, and then at which step: "Failed to locate executable /srv/python", "Failed
# at step EXEC spawning /srv/python".
_UNIT_FAILED = "be02cf6855d2428ba40df7e9d022f03d"
_SPAWN_FAILED = "641257651c1b4ec9a8624d7a40a9e1e7"
_LINES = 30

SOCKET = "/run/systemd/journal/socket"

Entry = Mapping[str, Any]


def entries(unit: str, since: float, *, user_scope: bool) -> list[Entry]:
    """Return what was logged by a unit and about it since then, in seconds since the epoch.

    Empty when the journal is not to be read, by this user or at all.
    """
    # What a process wrote before its end may still be in journald's queue. Only root may ask for this.
    _journalctl("--sync")
    return _query(since, f"--user-unit={unit}" if user_scope else f"--unit={unit}")


def told(app: str, since: float, message: Message) -> list[str]:
    """Return what rollouts of an app said since then under this id."""
    return [entry["MESSAGE"] for entry in _query(since, f"SVC_APP={app}", f"MESSAGE_ID={message.value}")]


def _query(since: float, *matches: str) -> list[Entry]:
    said = _journalctl(
        *matches,
        f"--since=@{since:.3f}",
        "--output=json",
        "--output-fields=MESSAGE,MESSAGE_ID,PRIORITY,UNIT_RESULT",
        "--all",
        "--quiet",
    )
    found = []
    for line in said.splitlines():
        entry = json.loads(line)
        if isinstance(entry.get("MESSAGE"), str):  # else it is no text
            found.append(entry)
    return found


def reason(of: Iterable[Entry]) -> str:
    """Return why a unit failed, as far as the entries tell: its last error, and how systemd judged it."""
    errors: list[str] = []
    spawning: list[str] = []
    results: list[str] = []
    for entry in of:
        if result := entry.get("UNIT_RESULT"):
            results.append(result)
        elif int(entry.get("PRIORITY", 6)) <= _ERROR and entry.get("MESSAGE_ID") != _UNIT_FAILED:
            found = spawning if entry.get("MESSAGE_ID") == _SPAWN_FAILED else errors
            found += entry["MESSAGE"].strip().splitlines()[-1:]
    errors = errors or spawning[:1]
    if results[:1] == ["timeout"]:
        return f"not ready within its time; {errors[-1]}" if errors else "not ready within its time"
    if errors:
        return errors[-1]
    return f"it ended with {results[0]}" if results else "see its journal"


def last_lines(of: Iterable[Entry]) -> list[str]:
    """Return the last lines that were logged."""
    return [line for entry in of for line in entry["MESSAGE"].splitlines()][-_LINES:]


def _journalctl(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["journalctl", "--no-pager", *arguments], capture_output=True, text=True, check=False
        ).stdout
    except OSError:  # a host without a journal
        return ""


def send(fields: Iterable[tuple[str, str]], path: str = SOCKET) -> bool:
    """Log one entry with these fields (systemd.io/JOURNAL_NATIVE_PROTOCOL).

    Returns False when nobody listens.
    """
    lines = "".join(f"{name}={' '.join(value.splitlines())}\n" for name, value in fields)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(lines.encode("utf-8", "replace"), path)
    except OSError:
        return False
    return True
