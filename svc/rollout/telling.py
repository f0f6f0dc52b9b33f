"""Tells of one app's rollout: the journal, or a terminal, and whoever watches."""

import os
import sys
from pathlib import Path

from svc.rollout import journal
from svc.rollout.events import Event, Message, slot_of
from svc.rollout.progress import Writer

INFO, WARNING, ERROR = 6, 4, 3  # syslog(3)

_PRIORITIES = {Message.FAILED: ERROR, Message.ABORTED: WARNING, Message.WORKER: WARNING}


class Teller:
    """Tells of a rollout of `app`. `generation` is what it brings, once that is known."""

    def __init__(self, app: str, folder: Path) -> None:
        self.app = app
        self.generation = ""
        self._progress = Writer(folder)
        # Set by systemd when stderr leads to the journal (systemd.exec(5)).
        self._journal = "JOURNAL_STREAM" in os.environ

    def __call__(self, event: Event, reason: str = "") -> None:
        """Tell of an event. The reason is for the journal alone: it may be what a worker said."""
        if event.message is not Message.WORKER:
            self._progress.write(event, self.generation)
        if event.message is None:
            return
        text = f"{event.text}: {reason}" if reason else event.text
        if not (self._journal and journal.send(self._fields(event, event.message, text))):
            prefix = f"<{_PRIORITIES.get(event.message, INFO)}>" if self._journal else ""
            print(f"{prefix}{text}", file=sys.stderr, flush=True)

    def _fields(self, event: Event, message: Message, text: str) -> list[tuple[str, str]]:
        fields = [
            ("MESSAGE", text),
            ("MESSAGE_ID", message.value),
            ("PRIORITY", str(_PRIORITIES.get(message, INFO))),
            ("SYSLOG_IDENTIFIER", "svcctl"),
            ("SVC_APP", self.app),
        ]
        if self.generation:
            fields.append(("SVC_GENERATION", self.generation))
        # A field may be there several times: `journalctl SVC_SLOT=3` finds each of them.
        return fields + [("SVC_SLOT", slot_of(unit)) for unit in event.units if "@" in unit]
