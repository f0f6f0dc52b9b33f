"""What a rollout says, and to whom."""

import re
import socket
from pathlib import Path

import pytest

from svc.rollout import journal, progress
from svc.rollout.events import Event, Message, Outcome
from svc.rollout.progress import Writer
from svc.rollout.telling import Teller

CATALOG = Path(__file__).parents[3] / "packaging" / "svc.catalog"


@pytest.fixture
def received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """The other end of the journal's socket."""
    path = str(tmp_path / "journal")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    send = journal.send
    monkeypatch.setattr(journal, "send", lambda fields: send(fields, path))
    return sock


def test_the_journal_gets_fields_and_the_reason_and_those_who_watch_do_not(
    tmp_path: Path, received: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    with received:
        tell = Teller("app", tmp_path)
        tell.generation = "3-abc"
        units = ("app@0.service", "app@surge.service")
        failed = Event("it failed", Message.FAILED, units, 1, 4, Outcome.FAILED)
        tell(failed, reason="postgres://user:secret@host\nPRIORITY=0")
        assert received.recv(4096).decode().splitlines() == [
            "MESSAGE=it failed: postgres://user:secret@host PRIORITY=0",
            f"MESSAGE_ID={Message.FAILED.value}",
            "PRIORITY=3",
            "SYSLOG_IDENTIFIER=svcctl",
            "SVC_APP=app",
            "SVC_GENERATION=3-abc",
            "SVC_SLOT=0",
            "SVC_SLOT=surge",
        ]
        tell(Event("a secret", Message.WORKER, ("app@0.service",)))
        tell(Event("only for those who watch"))
    (first, second) = progress.read(tmp_path)
    assert (first.text, first.units, first.done, first.total) == ("it failed", units, 1, 4)
    assert (first.outcome, first.generation) == (Outcome.FAILED, "3-abc")
    assert second.text == "only for those who watch"
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_plain_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    Teller("app", tmp_path)(Event("it failed", Message.FAILED), reason="no database")
    assert capsys.readouterr().err == "it failed: no database\n"


def test_where_the_journal_is_gone_stderr_gets_the_line_with_its_priority(
    tmp_path: Path, received: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    received.close()
    Teller("app", tmp_path)(Event("it failed", Message.FAILED))
    assert capsys.readouterr().err == "<3>it failed\n"


def test_a_new_rollout_takes_the_place_of_the_last_one_and_half_a_line_is_none(tmp_path: Path) -> None:
    assert progress.read(tmp_path) == []
    Writer(tmp_path).write(Event("old"), "1")
    writer = Writer(tmp_path)
    writer.write(Event("new"), "2")
    writer.write(Event("newer"), "2")
    with (tmp_path / progress.NAME).open("a") as file:
        file.write('{"at":')
    assert [line.text for line in progress.read(tmp_path)] == ["new", "newer"]


def test_a_folder_that_is_gone_ends_no_rollout(tmp_path: Path) -> None:
    Writer(tmp_path / "gone").write(Event("x"), "1")


def test_each_message_is_explained_once_in_the_catalog() -> None:
    assert sorted(re.findall(r"^-- (\w+)$", CATALOG.read_text(), re.MULTILINE)) == sorted(
        message.value for message in Message
    )
