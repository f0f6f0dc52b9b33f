"""What a worker says: to systemd and to the journal."""

import io
import logging
import os
from collections.abc import Iterator
from socket import socket as Socket

import pytest

from svc.worker import log, notify
from svc.worker.log import Journal, JournalHandler
from svc.worker.notify import Notify


class Sender:
    """Keeps what was sent."""

    socket: Socket | None = None

    def __init__(self) -> None:
        self.sent: list[str] = []

    def notify(self, state: str) -> None:
        """Keep it."""
        self.sent.append(state)


def test_a_status_that_has_not_changed_is_not_sent_again() -> None:
    sender = Sender()
    told = Notify(sender)
    told.ready("idle")
    told.status("idle")
    told.status("busy")
    told.status("busy")
    told.stopping("draining")
    told.status("draining")
    assert sender.sent == ["READY=1\nSTATUS=idle", "STATUS=busy", "STOPPING=1\nSTATUS=draining"]


class FullSender(Sender):
    """Has room for so many messages, like systemd's socket while systemd is busy."""

    room = 0

    def notify(self, state: str) -> None:
        """Keep it, or refuse it."""
        if not self.room:
            raise BlockingIOError
        self.room -= 1
        super().notify(state)


def test_a_worker_never_waits_for_systemd_and_loses_nothing_that_matters() -> None:
    sender = FullSender()
    told = Notify(sender)
    told.ready("idle")
    told.status("1")
    told.watchdog()
    told.status("2")
    told.watchdog()
    assert sender.sent == []
    sender.room = 1
    told.flush()
    assert sender.sent == ["READY=1\nSTATUS=idle"]
    sender.room = 9
    told.flush()
    assert sender.sent == ["READY=1\nSTATUS=idle", "STATUS=2", "WATCHDOG=1"]
    told.flush()
    assert len(sender.sent) == 3


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("10000000", "", 5.0),
        ("10000000", "own", 5.0),
        ("10000000", "1", None),
        ("0", "", None),
        ("", "", None),
        ("soon", "", None),
    ],
)
def test_the_watchdogs_interval(
    usec: str, pid: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert notify.watchdog_interval() == seconds
    assert "WATCHDOG_USEC" not in os.environ
    assert "WATCHDOG_PID" not in os.environ


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_line_has_its_priority_but_not_on_a_terminal() -> None:
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        journal = Journal(stream)
        journal.error("one\ntwo\n")
        journal.warning("three")
        journal.notice("")
        journal.info("four")
    assert pipe.getvalue() == "<3>one\n<3>two\n<4>three\n<5>\n<6>four\n"
    assert terminal.getvalue() == "one\ntwo\nthree\n\nfour\n"


def test_a_closed_journal_ends_nothing() -> None:
    stream = io.StringIO()
    journal = Journal(stream)
    stream.close()
    journal.error("nobody hears this")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger that nobody has configured."""
    found = logging.getLogger("tests.unit.worker.fresh")
    found.parent = None  # pytest has handlers of its own on the root
    yield found
    found.handlers.clear()
    found.setLevel(logging.NOTSET)
    found.disabled = False


def test_levels_become_priorities(logger: logging.Logger) -> None:
    stream = io.StringIO()
    logger.addHandler(JournalHandler(Journal(stream)))
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.setLevel(logging.DEBUG)
        logger.log(level, "x")
    assert stream.getvalue() == "<7>x\n<6>x\n<4>x\n<3>x\n<3>x\n"


def test_a_librarys_logger_is_adopted_once_and_enabled(logger: logging.Logger) -> None:
    stream = io.StringIO()
    logger.disabled = True
    for _ in range(2):
        log.adopt_logger(logger.name, Journal(stream))
    logger.info("noise")
    logger.error("once")
    assert stream.getvalue() == "<3>once\n"


def test_a_logger_that_the_application_configured_is_left_alone(logger: logging.Logger) -> None:
    theirs = logging.StreamHandler(io.StringIO())
    logger.addHandler(theirs)
    logger.setLevel(logging.DEBUG)
    log.adopt_logger(logger.name, Journal(io.StringIO()))
    assert not any(isinstance(handler, JournalHandler) for handler in logger.handlers)
    assert logger.level == logging.DEBUG
