"""Numbered messages from each worker to each, while workers are restarted and killed at random."""

import random
import struct
from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.system import cluster_apps
from tests.system.conftest import App

WORKERS = 8
RECORD = struct.Struct("<IIII")


def test_no_message_is_lost_doubled_or_out_of_order(app: App) -> None:
    run(app, count=3_000, blows=16)


@pytest.mark.long
def test_100_000_messages_from_each_to_each(app: App) -> None:
    run(app, count=100_000, blows=200)


def run(app: App, count: int, blows: int) -> None:
    """Send, and restart or kill a worker `blows` times meanwhile; then look at what was received."""
    app.deploy(cluster_apps.NUMBERS)
    app.start(workers=WORKERS, more=f"[env]\nCOUNT = {count}\n")
    dice = random.Random(count)
    kills = [0] * WORKERS
    for blow in range(blows):
        slot = dice.randrange(WORKERS)
        unit = f"app@{slot}.service"
        if blow == blows // 2:
            app.systemctl("reload", "app.target")
        elif dice.random() < 0.5:
            app.systemctl("restart", unit)
        else:
            kills[slot] += 1
            before = app.show(unit, "MainPID")
            app.systemctl("kill", "--signal=KILL", unit)
            app.machine.wait_until(unit, "MainPID", another_than(before))
            app.machine.wait_until(unit, "ActiveState", lambda state: state == "active")
    for slot in range(WORKERS):
        app.machine.wait_journal(f"worker {slot} has sent all", timeout=600)
    assert app.get("/flushed") == str(WORKERS)
    for slot in range(WORKERS):
        look(app, slot, count, kills[slot])


def another_than(before: str) -> Callable[[str], bool]:
    """Say of a process id whether it is a new one."""
    return lambda pid: pid not in ("0", before)


def look(app: App, slot: int, count: int, kills: int) -> None:
    """Check what one worker has received; a kill may have cost the message that was just being begun."""
    data = app.machine.path(f"/run/private/svc/app/received-{slot}").read_bytes()
    streams: dict[tuple[int, int], list[int]] = defaultdict(list)
    ends = [0] * WORKERS
    for sender, incarnation, number, receiver in RECORD.iter_unpack(data):
        assert receiver == slot + 1
        streams[sender, incarnation].append(number)
        ends[sender] = max(ends[sender], number + 1)
    missing = 0
    for stream, numbers in streams.items():
        assert numbers == sorted(set(numbers)), f"{stream}: doubled or out of order"
        missing += numbers[-1] - numbers[0] + 1 - len(numbers)
    assert missing <= kills, f"worker {slot} has not got {missing} messages, and was killed {kills} times"
    assert ends == [count] * WORKERS
