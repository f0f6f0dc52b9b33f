"""The recording client: drives load at a web server and keeps what became of every request.

From a test that blocks (the load runs in a process of its own, so it never waits for the test):

    with load("http://127.0.0.1:8000/", connections=50) as running:
        machine.systemctl("reload", "app.target")
        running.wait(100)      # a hundred more answers
    assert running.result.failed == 0, running.result.table()

From a coroutine: `async with Load(url, …) as running: …`, then `running.result`.

Closed loop: every connection asks, waits for the answer, thinks, and asks again. Open loop (`rate`):
requests come on a schedule whatever the server does, and latency counts from the scheduled time, so
that a stall shows in all the requests that it delayed.
"""

import asyncio
import contextlib
import gc
import json
import pickle
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from tests.http1 import Connection, Failure, Target
from tests.measure import Record, Result


@dataclass(frozen=True)
class Options(Target):
    """What to ask (see Target) and how to drive.

    `rate` is in requests a second, 0 for a closed loop; `think` and `timeout` are in seconds;
    `requests` ends the load after so many, 0 goes on until it is stopped.
    """

    connections: int = 10
    rate: float = 0.0
    think: float = 0.0
    timeout: float = 30.0
    requests: int = 0
    keep_bodies: bool = False


class Load:
    """A load that runs in the background of an event loop. The keywords are those of Options."""

    def __init__(self, url: str, phase: str = "before", **options: Any) -> None:
        self.options = Options(url, **options)
        self.records: list[Record] = []
        self.phases = [(phase, time.monotonic())]
        self._connections: list[Connection] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: list[tuple[int, asyncio.Event]] = []
        self._stopping = asyncio.Event()
        self._stop_at = float("inf")
        self._issued = 0

    async def __aenter__(self) -> Self:
        self._began = time.monotonic()
        self.phases = [(self.phases[0][0], self._began)]
        self._tasks = [asyncio.create_task(self._drive()) for _ in range(self.options.connections)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def mark(self, phase: str) -> None:
        """Begin a phase: requests that start from now on belong to it."""
        self.phases.append((phase, time.monotonic()))

    async def wait(self, requests: int) -> None:
        """Wait until so many more requests have ended, well or badly."""
        reached = asyncio.Event()
        self._waiting.append((len(self.records) + requests, reached))
        waiting = asyncio.create_task(reached.wait())
        ended = asyncio.create_task(asyncio.wait(self._tasks))  # as it does when `requests` are used up
        await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, ended):
            task.cancel()

    async def stop(self) -> None:
        """Start no more requests, and wait for the end of those that are under way."""
        self._stop_at = min(self._stop_at, time.monotonic())
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    @property
    def result(self) -> Result:
        """What was seen so far."""
        reconnects = sum(connection.reconnects for connection in self._connections)
        opened = sum(connection.opened for connection in self._connections)
        return Result(self.records, self.phases, reconnects, opened)

    async def _drive(self) -> None:
        """One connection of the load."""
        options, connection = self.options, Connection(self.options)
        self._connections.append(connection)
        try:
            while not options.requests or self._issued < options.requests:
                start = await self._next_start()
                if start > self._stop_at:
                    break
                status, error, body = await self._ask(connection)
                latency = time.monotonic() - start
                self._record(Record(start, latency, status, error, connection.number, body))
                if options.think and not options.rate:
                    await self._sleep(options.think)
                # A server on another CPU can answer before we look: without this turn for the others, one
                # connection that never has to wait would take all of the time.
                await asyncio.sleep(0)
        finally:
            connection.close()

    async def _next_start(self) -> float:
        """When the next request starts: at once, or when the schedule says so."""
        issued, self._issued = self._issued, self._issued + 1
        if not self.options.rate:
            return time.monotonic()
        start = self._began + issued / self.options.rate
        await self._sleep(start - time.monotonic())
        return start

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until stop()."""
        if seconds > 0:
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                return

    async def _ask(self, connection: Connection) -> tuple[int, str, bytes]:
        """One request: status, error, body."""
        try:
            async with asyncio.timeout(self.options.timeout):
                status, body = await connection.request()
        except Failure as failure:
            return 0, str(failure), b""
        except TimeoutError:
            return 0, f"no answer within {self.options.timeout:g} s", b""
        error = f"status {status}" if status >= 400 else ""
        return status, error, body if self.options.keep_bodies or error else b""

    def _record(self, record: Record) -> None:
        self.records.append(record)
        if self._waiting:
            for count, reached in self._waiting:
                if len(self.records) >= count:
                    reached.set()
            self._waiting = [waiting for waiting in self._waiting if not waiting[1].is_set()]


class LoadProcess:
    """A load in a process of its own; see load()."""

    def __init__(self, options: Options, phase: str) -> None:
        self._patience = options.timeout + 30.0
        self._phases = [(phase, time.monotonic())]
        self._result: Result | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        self._send(json.dumps(asdict(options) | {"body": options.body.decode("latin-1")}))

    def __enter__(self) -> Self:
        """Return when the load is under way: every connection has had its first answer."""
        try:
            self._answer("the first answers")
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def mark(self, phase: str) -> None:
        """Begin a phase: requests that start from now on belong to it."""
        self._phases.append((phase, time.monotonic()))

    def wait(self, requests: int) -> None:
        """Wait until so many more requests have ended, well or badly."""
        self._send(f"wait {requests}")
        self._answer(f"{requests} more requests")

    def count(self) -> tuple[int, int]:
        """How many requests have ended so far, and how many of them failed."""
        self._send("count")
        requests, failed = self._answer("a count").split()
        return int(requests), int(failed)

    @property
    def result(self) -> Result:
        """What was seen; ends the load when it still runs."""
        return self.stop()

    def stop(self) -> Result:
        """End the load, after the requests that are under way, and return what it saw."""
        if self._result is None:
            try:
                data, _ = self._process.communicate(b"stop\n", self._patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()
                raise
            self._result = replace(pickle.loads(data), phases=self._phases)
        return self._result

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def _answer(self, what: str) -> str:
        """The next line from the process; lines are written whole."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self._patience)[0]:
            raise TimeoutError(f"the load has waited {self._patience:g} s for {what}")
        if line := self._process.stdout.readline():
            return line.decode().strip()
        raise RuntimeError(f"the load ended while it waited for {what}: status {self._process.wait()}")


def load(url: str, phase: str = "before", **options: Any) -> LoadProcess:
    """Drive load from another process; the keywords are those of Options. Use it in a `with`."""
    return LoadProcess(Options(url, **options), phase)


def get(url: str, **options: Any) -> Record:
    """One request, on a connection of its own; the keywords are those of Options."""

    async def ask() -> Record:
        asked = {"keep_alive": False, "keep_bodies": True, "connections": 1, "requests": 1}
        async with Load(url, **(asked | options)) as running:
            await running.wait(1)
        return running.records[0]

    return asyncio.run(ask())


async def serve() -> None:
    """The other end of LoadProcess: options, then commands, a line each, until `stop` or the end."""
    gc.disable()  # a collection over a million records would look like a slow server
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin.buffer
    )
    options = json.loads(await commands.readline())
    options["body"] = options["body"].encode("latin-1")
    async with Load(**options) as running:
        await running.wait(1 if running.options.rate else running.options.connections)
        print("started", flush=True)
        while (command := (await commands.readline()).split()) and command[0] != b"stop":
            if command[0] == b"wait":
                await running.wait(int(command[1]))
                print("reached", flush=True)
            else:
                print(len(running.records), sum(r.failed for r in running.records), flush=True)
    if command:
        sys.stdout.buffer.write(pickle.dumps(running.result))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches the group; the parent says `stop`
        asyncio.run(serve())
