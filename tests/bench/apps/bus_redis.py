"""The part "cluster" for Redis: one publisher, and subscribers that note when they have each message.

`bus_redis.py SOCKET WORKERS COUNT PAUSE-IN-MS` prints times of CLOCK_MONOTONIC in nanoseconds. redis-py with
hiredis, over a unix socket, in uvloop.
"""

import asyncio
import json
import subprocess
import sys
import time

import redis.asyncio
import uvloop

BYTES = 100
BATCH = 100
CHANNEL = "bus"
END = b"end"


async def subscribe(path: str) -> None:
    """Note when messages come, and print it at the end."""
    received = []
    client = redis.asyncio.Redis(unix_socket_path=path)
    async with client, client.pubsub() as channel:
        await channel.subscribe(CHANNEL)
        async for message in channel.listen():
            now = time.monotonic_ns()
            if message["type"] == "subscribe":
                print("ready", flush=True)
            elif message["data"] == END:
                break
            else:
                received.append(now)
    print(json.dumps(received), flush=True)


async def publish(path: str, count: int, pause: float) -> list[int]:
    """Publish; return when each message was sent. Without a pause, many at a time."""
    sent = []
    async with redis.asyncio.Redis(unix_socket_path=path) as client:
        if pause:
            for number in range(count):
                text = f"{number:0{BYTES}}"
                sent.append(time.monotonic_ns())
                await client.publish(CHANNEL, text)
                await asyncio.sleep(pause)
        else:
            for first in range(0, count, BATCH):
                pipeline = client.pipeline(transaction=False)
                for number in range(first, min(first + BATCH, count)):
                    sent.append(time.monotonic_ns())
                    pipeline.publish(CHANNEL, f"{number:0{BYTES}}")
                await pipeline.execute()
        await client.publish(CHANNEL, END)
    return sent


def measure(path: str, workers: int, count: int, pause: float) -> dict[str, object]:
    """Start the subscribers, publish, and collect what they print."""
    command = [sys.executable, __file__, path]
    subscribers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers)]
    outputs = [subscriber.stdout for subscriber in subscribers if subscriber.stdout]
    for output in outputs:
        if output.readline() != b"ready\n":
            raise SystemExit("a subscriber did not come up")
    sent = uvloop.run(publish(path, count, pause))
    received = [json.loads(output.read()) for output in outputs]
    for subscriber in subscribers:
        subscriber.communicate()
    return {"sent": sent, "received": received}


if __name__ == "__main__":
    if len(sys.argv) == 2:
        uvloop.run(subscribe(sys.argv[1]))
    else:
        where, workers, count, milliseconds = sys.argv[1:]
        json.dump(measure(where, int(workers), int(count), float(milliseconds) / 1000), sys.stdout)
