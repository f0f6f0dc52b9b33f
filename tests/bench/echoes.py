"""WebSocket clients that echo: `python -m tests.bench.echoes PORT CLIENTS INTERVAL`, until its input ends.

Each client sends a message, waits for its echo, pauses, and sends the next. A server may close a
connection with a reason (1001 going away, 1012 service restart): then the client connects again and
sends its message anew. All else that ends a connection is a failure.
"""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10.0
POLITE = {1000, 1001, 1012}


@dataclass
class Counts:
    """What the clients saw."""

    echoes: int = 0
    closed: int = 0
    failed: int = 0


async def client(url: str, interval: float, counts: Counts) -> None:
    """One client, until it is cancelled."""
    while True:
        try:
            async with connect(url, ping_interval=None, compression=None, open_timeout=PATIENCE) as socket:
                while True:
                    async with asyncio.timeout(PATIENCE):
                        await socket.send("hello")
                        await socket.recv()
                    counts.echoes += 1
                    await asyncio.sleep(interval)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code in POLITE:
                counts.closed += 1
            else:
                counts.failed += 1
        except (WebSocketException, OSError, EOFError, TimeoutError):
            counts.failed += 1
            await asyncio.sleep(0.1)


async def main() -> None:
    """Run the clients until the input ends, then print what they saw."""
    port, clients, interval = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    counts = Counts()
    tasks = [
        asyncio.create_task(client(f"ws://127.0.0.1:{port}/ws", interval, counts)) for _ in range(clients)
    ]
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(vars(counts)), flush=True)
    for task in tasks:
        task.cancel()


class Echoes:
    """The clients in a process of their own; use it in a `with`."""

    def __init__(self, port: int, clients: int = 20, interval: float = 0.2) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-m", "tests.bench.echoes", str(port), str(clients), str(interval)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> Counts:
        """What the clients have seen."""
        output, _ = self._process.communicate("", PATIENCE + 5.0)
        return Counts(**json.loads(output))


if __name__ == "__main__":
    asyncio.run(main())
