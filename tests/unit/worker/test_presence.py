"""Which workers are there: told by the kernel, whatever way a worker ends."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from svc.worker.log import Journal
from svc.worker.presence import Presence
from tests.unit.worker.process import PATIENCE, ROOT

ANNOUNCE = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs the tests in the background ignores it
from pathlib import Path
from svc.worker.log import Journal
from svc.worker.presence import Presence
there = Presence.join(Path(sys.argv[1]), sys.argv[2], Journal())
there.announce()
print("announced", flush=True)
for line in sys.stdin:
    there.withdraw() if line == "withdraw\\n" else there.announce()
    print("done", flush=True)
"""


def sibling(folder: Path, slot: str) -> "subprocess.Popen[str]":
    """Another process that is there. Returns when it has announced itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", ANNOUNCE, str(folder), slot],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "announced\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    """Kill it, and close its pipes."""
    process.kill()
    process.communicate()


def tell(process: "subprocess.Popen[str]", what: str) -> None:
    """Let it announce itself, or withdraw."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


Until = Callable[[bool], Awaitable[None]]


def watch(folder: Path, test: Callable[[Until], Awaitable[None]]) -> None:
    """Run `test` with a way for slot 0 to wait until slot 1 is there, or not."""

    async def run() -> None:
        there = Presence.join(folder, "0", Journal())
        told = asyncio.Event()

        async def until(wanted: bool) -> None:
            async with asyncio.timeout(PATIENCE):
                while there.is_there("1") is not wanted:
                    told.clear()
                    await told.wait()

        there.watch(asyncio.get_running_loop(), told.set)
        try:
            await test(until)
        finally:
            there.close()

    asyncio.run(run())


def test_a_worker_that_never_was_is_not_there(tmp_path: Path) -> None:
    there = Presence.join(tmp_path, "0", Journal())
    assert not there.is_there("1")
    there.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_ends_is_missed_at_once(tmp_path: Path, number: signal.Signals) -> None:
    async def test(until: Until) -> None:
        for _ in range(3):
            process = sibling(tmp_path, "1")
            await until(True)
            process.send_signal(number)
            await until(False)
            end(process)

    watch(tmp_path, test)


def test_a_worker_that_withdraws_is_missed_and_can_come_back(tmp_path: Path) -> None:
    async def test(until: Until) -> None:
        process = sibling(tmp_path, "1")
        await until(True)
        for _ in range(3):
            tell(process, "withdraw")
            await until(False)
            tell(process, "announce")
            await until(True)
        end(process)

    watch(tmp_path, test)


def test_a_stopped_worker_is_there(tmp_path: Path) -> None:
    process = sibling(tmp_path, "1")
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    there = Presence.join(tmp_path, "0", Journal())
    assert there.is_there("1")
    there.close()
    end(process)


def test_without_the_kernels_word_it_looks_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class NoInotify:
        def __init__(self, *_: object, **__: object) -> None: ...

        def inotify_init1(self, _flags: int) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", NoInotify)

    async def test(until: Until) -> None:
        process = sibling(tmp_path, "1")
        await until(True)
        end(process)
        await until(False)

    watch(tmp_path, test)
    assert "raise fs.inotify.max_user_instances" in capfd.readouterr().err
