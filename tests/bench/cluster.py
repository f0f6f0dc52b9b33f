"""What workers tell each other: a message to 8 others, in svc, in Node's cluster and through Redis.

In svc one of 9 workers tells the 8 others; in Node's cluster the primary tells 8 workers, in a loop of
`worker.send`; with Redis one program publishes and 8 subscribe (redis-py with hiredis, a unix socket,
uvloop). In all of them a message has arrived when the program's own function has been called with it.
"""

import functools
import json
import subprocess
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.bench import installed, peers, proc, redis_server
from tests.bench.bench import Bench
from tests.bench.curves import Curves
from tests.bench.results import Column, Goal, Outcome, Samples
from tests.machine import Machine
from tests.measure import percentile

TITLE = "Messages between workers: 100 bytes to 8 others"
WORKERS = 8
OURS, NODE, REDIS = "svc", "Node cluster", "Redis PUBLISH"
SPACED, PAUSE = 1000, 0.003  # one message each 3 ms: every process sleeps when it comes
AT_ONCE = 20_000
MIB = 1 << 20
PATIENCE = 60.0

COLUMNS = (
    Column("p50", "until the last has it: p50 ms", 3),
    Column("p99", "p99 ms", 3),
    Column("rate", "messages a second, one sender"),
    Column("memory", "MiB a worker more than without", 2),
)

Measure = Callable[[int, float], dict[str, Any]]
"""Sends messages with a pause between; returns when each was sent, and when each worker had it, in ns."""


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples, curves = Samples(), Curves()
    machine = bench.stack.enter_context(installed.booted())
    redis = bench.stack.enter_context(redis_server.running())
    others: dict[str, Measure] = {
        NODE: lambda count, pause: _printed(
            peers.tool("node"), str(peers.APPS / "bus.js"), *_arguments(count, pause)
        ),
        REDIS: lambda count, pause: _printed(
            str(peers.PYTHON), str(peers.APPS / "bus_redis.py"), redis, *_arguments(count, pause)
        ),
    }
    for number, name in bench.rounds(bench.chosen([OURS, NODE, REDIS])):
        if name == OURS:
            site = peers.Site("bus", bench.port(), WORKERS + 1)
            with installed.serving(machine, site) as svc:
                measure = functools.partial(_asked, site)
                waits = _waits(measure)
                used = _pss(svc.pids())
                rate = _rate(measure)
            samples.add(name, "memory", used - _without(machine, bench.port()))
        else:
            waits, rate = _waits(others[name]), _rate(others[name])
        p50, p99 = (1000 * percentile(sorted(waits), percent) for percent in (50, 99))
        samples.add(name, "p50", p50)
        samples.add(name, "p99", p99)
        samples.add(name, "rate", rate)
        curves.add(name, waits)
        said = f"p50 {p50:.3f} p99 {p99:.3f} ms, {rate:,.0f} messages a second"
        bench.say(number, f"{name:<14} {said}")
    note = (
        f"Latency: {SPACED:,} messages, one each {PAUSE * 1000:g} ms. Messages a second: {AT_ONCE:,} as fast "
        "as the sender can, until the last worker has the last; Redis in pipelines of 100, Node 100 at once."
    )
    return Outcome((samples.table(TITLE, COLUMNS, note),), tuple(goals(samples)), curves.all())


def goals(samples: Samples) -> list[Goal]:
    """What svc must reach."""
    found = [
        Goal(
            f"svc: {key}, times {other}",
            samples.figure(OURS, key).over(samples.figure(other, key)),
            relation,
            limit,
        )
        for key, relation, other, limit in (
            ("p50", "≤", NODE, 0.7),
            ("p99", "≤", NODE, 0.7),
            ("p50", "≤", REDIS, 0.5),
            ("p99", "≤", REDIS, 0.5),
            ("rate", "≥", NODE, 1.5),
            ("rate", "≥", REDIS, 2.0),
        )
    ]
    found.append(Goal("svc: MiB a worker, of the bus", samples.figure(OURS, "memory"), "≤", 2.0))
    return [goal for goal in found if goal.figure.values]


def _waits(measure: Measure) -> list[float]:
    """Return how long each message took until the last worker had it, in seconds."""
    found = measure(SPACED, PAUSE)
    received = _whole(found, SPACED)
    return [(max(times) - sent) / 1e9 for sent, *times in zip(found["sent"], *received, strict=True)]


def _rate(measure: Measure) -> float:
    """Return how many messages a second one sender gets rid of, until the last worker has the last."""
    found = measure(AT_ONCE, 0.0)
    first: int = found["sent"][0]
    last = max(times[-1] for times in _whole(found, AT_ONCE))
    return AT_ONCE / ((last - first) / 1e9)


def _whole(found: dict[str, Any], count: int) -> list[list[int]]:
    """Return when each worker had each message. Raises ServerError where one is missing."""
    received: list[list[int]] = found["received"]
    counts = [len(times) for times in received]
    if counts != [count] * WORKERS:
        raise peers.ServerError(f"{WORKERS} workers should have {count} messages each, and have {counts}")
    return received


def _asked(site: peers.Site, count: int, pause: float) -> dict[str, Any]:
    with urllib.request.urlopen(f"{site.url}?count={count}&pause={pause}", timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _printed(*argv: str) -> dict[str, Any]:
    done = subprocess.run(argv, capture_output=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise peers.ServerError(f"{argv[1]} failed: {done.stderr[-2000:].decode(errors='replace')}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _arguments(count: int, pause: float) -> list[str]:
    return [str(WORKERS), str(count), f"{pause * 1000:g}"]


def _without(machine: Machine, port: int) -> float:
    """The memory of a worker of the same application without a bus."""
    site = peers.Site("bus", port, WORKERS + 1, {"SILENT": "1"})
    with installed.serving(machine, site, more="[cluster]\nbus = false") as svc:
        return _pss(svc.pids())


def _pss(pids: list[int]) -> float:
    return sum(proc.pss_bytes(pid) for pid in pids) / len(pids) / MIB
