"""A worker of the part "cluster_cache": how many times a second it gets or sets 100 bytes.

    python cache_calls.py svc|redis SOCKET NUMBER

svc's cache is that of $RUNTIME_DIRECTORY. Each line, "get SECONDS" or "set SECONDS", is answered with calls a
second.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

VALUE = b"x" * 100
TURN = 50
"""Calls between two looks at the clock."""


def calls(kind: str, socket: str, number: str) -> dict[str, Callable[[], object]]:
    """The two calls. Every worker reads one key, and each writes its own."""
    cache: Any
    if kind == "svc":
        from svc.cluster import blocking

        cache = blocking.cache
    else:
        import redis

        cache = redis.Redis(unix_socket_path=socket)
    cache.set("read", VALUE)
    assert cache.get("read") == VALUE
    key = f"written by {number}"
    return {"get": lambda: cache.get("read"), "set": lambda: cache.set(key, VALUE)}


def rate(call: Callable[[], object], seconds: float) -> float:
    """How often `call` can be called in a second."""
    count, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        for _ in range(TURN):
            call()
        count += TURN
    return count / taken


def main() -> None:
    """Do what each line says."""
    known = calls(*sys.argv[1:])
    print("ready", flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        print(rate(known[name], float(seconds)), flush=True)


main()
