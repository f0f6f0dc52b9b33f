"""The application of the part "cluster": broadcasts to the other workers, who note when they
have each message.

GET /?count=1000&pause=0.003 answers with times of CLOCK_MONOTONIC in nanoseconds. With `SILENT` it is the
same application without a bus.
"""

import asyncio
import json
import os
import time
from typing import Any
from urllib.parse import parse_qs

BYTES = 100
SILENT = "SILENT" in os.environ

received: list[int] = []

if not SILENT:
    from svc import cluster

    @cluster.on_message
    def take(message: cluster.Message) -> list[int] | None:
        """Note a message; give the notes away when they are asked for."""
        now = time.monotonic_ns()
        if message.wants_answer:
            notes = received.copy()
            received.clear()
            return notes
        received.append(now)
        return None


async def broadcast(count: int, pause: float) -> list[int]:
    """Broadcast, one message each `pause` seconds; return when each was sent."""
    sent = []
    for number in range(count):
        text = f"{number:0{BYTES}}"
        sent.append(time.monotonic_ns())
        await cluster.broadcast(text, include_self=False)
        if pause:
            await asyncio.sleep(pause)
    return sent


async def measure(count: int, pause: float) -> dict[str, Any]:
    """When each message was sent, and when each of the other workers had it."""
    sent = await broadcast(count, pause)
    others = [worker.slot for worker in cluster.workers() if worker.slot != cluster.worker.slot]
    return {"sent": sent, "received": [await cluster.request(slot, None, timeout=30) for slot in others]}


async def asgi(scope: Any, _receive: Any, send: Any) -> None:
    """Answer in ASGI."""
    if scope["type"] != "http":
        return
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    body = b"{}"
    if "count" in query:
        body = json.dumps(await measure(int(query["count"]), float(query.get("pause", "0")))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
