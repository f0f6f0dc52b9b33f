"""Messages between workers on a real systemd: what a reload, a restart and a crash do to them."""

import json
import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.system import cluster_apps
from tests.system.conftest import App

PATIENCE = 30.0


@pytest.fixture
def talker(app: App) -> App:
    """An app of three workers that talk when they are told to."""
    app.deploy(cluster_apps.TALKER)
    app.start(workers=3)
    return app


def ask(app: App, path: str, **query: Any) -> Any:
    """What some worker answers."""
    words = "&".join(
        f"{key}={quote(json.dumps(value) if key == 'data' else str(value))}" for key, value in query.items()
    )
    return json.loads(app.get(f"{path}?{words}"))


def ask_of(app: App, slot: object, path: str, **query: Any) -> Any:
    """What one worker answers: its turn comes, on a busy machine not always in the first round."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = ask(app, path, **query, **{"of": slot})
        if found != "not me":
            return found
    raise AssertionError(f"worker {slot} never had its turn")


def received(app: App, slot: object, sender: object = None) -> list[Any]:
    """The values that a worker has received: all that had left their senders before this call, and all
    that `sender` had sent, also what waits there for the queue to have room.
    """
    flush = {"to": slot, "data": "flush"}
    if sender is None:
        ask(app, "/request", **flush)
    else:
        ask_of(app, sender, "/request", **flush)
    return [data for _, data in ask_of(app, slot, "/received") if data != "flush"]


def test_who_is_who(talker: App) -> None:
    shown = ask(talker, "/workers")
    assert [(slot, state) for slot, _, state, _, _ in shown] == [(0, "ready"), (1, "ready"), (2, "ready")]
    assert [pid for _, pid, *_ in shown] == talker.pids()
    for slot in range(3):
        assert ask_of(talker, slot, "/who")[0] == slot


def test_a_generation_is_told(app: App) -> None:
    app.deploy(cluster_apps.TALKER)
    app.start(workers=1)
    for generation in ("0", "1"):
        assert ask(app, "/who")[:2] == [0, generation]
        assert ask(app, "/workers")[0][3] == generation
        app.systemctl("reload", "app.target")


def test_to_one_to_all_and_to_all_others(talker: App) -> None:
    assert ask(talker, "/send", to=1, data={"to": "one"}) == "sent"
    assert ask_of(talker, 0, "/broadcast", data="all") == "sent"
    assert ask_of(talker, 0, "/broadcast", data="others", self="no") == "sent"
    assert received(talker, 0) == ["all"]
    assert received(talker, 1) == [{"to": "one"}, "all", "others"]
    assert received(talker, 2) == ["all", "others"]


def test_requests_are_answered_or_told_why_not(talker: App) -> None:
    assert ask(talker, "/request", to=2, data="pid") == talker.pids()[2]
    assert ask(talker, "/request", to=2, data="fail") == {
        "error": "RequestFailed",
        "text": "worker 2 could not answer: ValueError: as asked",
    }
    assert ask(talker, "/request", to=2, data="hang", timeout=0.1)["error"] == "TimeoutError"
    assert ask(talker, "/request", to=7, data="pid")["error"] == "NoSuchSlot"


def test_who_asks_a_worker_that_dies_knows_at_once(talker: App) -> None:
    answer = ask_of(talker, 0, "/request", to=1, data="exit", timeout=60)
    assert answer == {"error": "RequestFailed", "text": "worker 1 ended before it had answered"}


def test_large_messages_arrive_whole(talker: App) -> None:
    assert ask(talker, "/large", to=1, size=3_000_000) == "sent"
    assert received(talker, 1) == ["x" * 3_000_000]


@pytest.mark.parametrize("away", ["restart", "crash"])
def test_what_is_sent_while_a_worker_is_away_waits_for_it_once_and_in_order(talker: App, away: str) -> None:
    opened = talker.show("app-bus@1.socket", "ActiveEnterTimestampMonotonic")
    before = talker.pids()[1]
    # Stopped in its tracks: from here on nothing is read, until its successor has started.
    talker.systemctl("kill", "--signal=STOP", "app@1.service")
    for number in range(8):
        assert ask_of(talker, 0, "/send", to=1, data=number) == "sent"
    if away == "restart":
        talker.systemctl("kill", "--signal=KILL", "app@1.service")
        talker.systemctl("restart", "app@1.service")
    else:
        talker.systemctl("kill", "--signal=KILL", "app@1.service")
        talker.machine.wait_until("app@1.service", "MainPID", lambda pid: pid not in ("0", str(before)))
        talker.machine.wait_until("app@1.service", "ActiveState", lambda state: state == "active")
    assert received(talker, 1) == list(range(8))
    assert talker.show("app-bus@1.socket", "ActiveEnterTimestampMonotonic") == opened


def test_a_full_queue_pushes_back_and_loses_nothing(talker: App) -> None:
    talker.systemctl("kill", "--signal=STOP", "app@1.service")
    answer = ask_of(talker, 0, "/send", to=1, times=100_000, timeout=0.5)
    assert answer["error"] == "QueueFull"
    assert answer["text"] == "the queue of worker 1 is full"
    # The others still get theirs, and the sender is told who has not.
    assert ask_of(talker, 0, "/broadcast", data="all", timeout=0.1)["text"] == answer["text"]
    talker.systemctl("kill", "--signal=CONT", "app@1.service")
    got = received(talker, 1, sender=0)
    assert got == list(range(len(got)))
    assert len(got) == ask_of(talker, 0, "/sent")
    assert received(talker, 0)[-1] == received(talker, 2)[-1] == "all"


def test_a_reload_keeps_the_queues_and_the_surge_worker_has_one(talker: App) -> None:
    opened = [talker.show(f"app-bus@{slot}.socket", "ActiveEnterTimestampMonotonic") for slot in range(3)]
    talker.systemctl("reload", "app.target")
    assert "Listening on app-bus@surge.socket" in talker.machine.journal()
    assert [
        talker.show(f"app-bus@{slot}.socket", "ActiveEnterTimestampMonotonic") for slot in range(3)
    ] == opened
    assert [slot for slot, *_ in ask(talker, "/workers")] == [0, 1, 2]
    assert ask(talker, "/broadcast", data="after") == "sent"
    assert [received(talker, slot) for slot in range(3)] == [["after"]] * 3


def test_an_app_that_grows_has_queues_for_the_new_workers(talker: App) -> None:
    talker.configure(workers=5)
    talker.systemctl("reload", "app.target")
    assert ask_of(talker, 0, "/broadcast", data="all five") == "sent"
    assert [received(talker, slot) for slot in range(5)] == [["all five"]] * 5


def test_unread_messages_cost_systemd_nothing(talker: App) -> None:
    talker.systemctl("stop", "app@1.service")
    assert ask(talker, "/send", to=1, data="for later") == "sent"
    before = cpu_ticks(talker)
    # The length of a measurement, not a wait for anything.
    talker.machine.run("sleep", "1")
    assert cpu_ticks(talker) - before < 20  # of 100 in a second
    assert talker.show("app@1.service", "ActiveState") == "inactive"
    talker.systemctl("start", "app@1.service")
    assert received(talker, 1) == ["for later"]


def cpu_ticks(app: App) -> int:
    """How much processor time PID 1 of the machine has used, in hundredths of a second."""
    fields = app.machine.path("/proc/1/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_message_of_another_user_is_refused_and_counted(talker: App) -> None:
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
        "s.sendto(b'svc\\x01' + bytes(28), '/run/svc/.bus/app/1')"
    )
    # The kernel lets no stranger in at all; root gets in, and is refused by the worker.
    stranger = talker.machine.run(
        "setpriv", "--reuid=12345", "--clear-groups", "python3", "-c", script, check=False
    )
    assert "PermissionError" in stranger.stderr
    talker.machine.run("python3", "-c", script)
    assert received(talker, 1) == []
    assert ask_of(talker, 1, "/refused") == 1
    talker.machine.wait_journal(r"a message was refused: it comes from user 0")


def test_every_worker_agrees_on_the_owner_of_a_key(talker: App) -> None:
    for key in ("user:1", "user:2", "user:3"):
        assert len({ask_of(talker, slot, "/owner", key=key) for slot in range(3)}) == 1


def test_an_app_without_a_bus_says_so(app: App) -> None:
    app.deploy(cluster_apps.TALKER)
    app.start(workers=1, more="[cluster]\nbus = false\n")
    assert "[cluster] bus" in ask(app, "/broadcast", data=1)["text"]
    assert ask(app, "/workers")[0][0] == 0


def test_a_worker_joins_when_it_asks_or_when_a_message_comes(app: App) -> None:
    app.deploy(cluster_apps.LATE)
    app.start(workers=3)
    assert joined(app) == {0: False, 1: False, 2: False}
    sender, receiver = ask(app, "/send-to-the-next")
    deadline = time.monotonic() + PATIENCE
    while not joined(app)[receiver]:
        assert time.monotonic() < deadline
    assert joined(app) == {slot: slot in (sender, receiver) for slot in range(3)}


def joined(app: App) -> dict[int, bool]:
    """Which of three workers have loaded the cluster API."""
    found: dict[int, bool] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < 3 and time.monotonic() < deadline:
        slot, answer = ask(app, "/joined")
        found[slot] = answer
    return found
