"""200 connections that are idle most of the time, over three reloads: do they survive?

Each asks once a second. A connection that the server closes while it is idle is opened anew by the
client, as every client does, and is counted as lost; one that ends after a request was sent is a failure.
"""

import time
from collections.abc import Callable

from tests.bench import installed, peers
from tests.bench.bench import Bench
from tests.bench.loadgen import Load, Options, Seen
from tests.bench.results import Column, Goal, Outcome, Samples

TITLE = "Idle kept-alive connections over three reloads, 2 workers"
CONNECTIONS = 200
RATE = 200.0
RELOADS = 3
SETTLE_SECONDS = CONNECTIONS / RATE  # until each connection has asked once
BETWEEN_SECONDS = 0.5
OURS = "svc"

PEERS = (
    peers.uvicorn(),
    peers.gunicorn("asgi"),
    peers.granian("asgi"),
    peers.pm2(),
)
COLUMNS = (
    Column("requests", "requests", total=True),
    Column("failed", "failed", total=True),
    Column("survived", "connections still the same %", 1),
    Column("longest", "longest answer ms", 1),
    Column("seconds", "3 reloads s", 1),
)


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples = Samples()
    known = {peer.name: peer for peer in PEERS}
    machine = bench.stack.enter_context(installed.booted())
    for number, name in bench.rounds(bench.chosen([OURS, *known])):
        site = peers.Site("work", bench.port(), 2)
        if name == OURS:
            with installed.serving(machine, site) as svc:
                seconds, seen = watch(site, lambda svc=svc: svc.reload() and None)  # type: ignore[misc]
        else:
            with peers.running(known[name], site) as server:
                seconds, seen = watch(site, server.reload)
        survived = 100 * survivors(seen) / CONNECTIONS
        samples.add(name, "requests", len(seen.answers))
        samples.add(name, "failed", seen.failed)
        samples.add(name, "survived", survived)
        samples.add(name, "longest", seen.longest())
        samples.add(name, "seconds", seconds)
        bench.say(number, f"{name:<16} {seen.failed} failed {seen.errors() or ''}, {survived:.1f} % survived")
    table = samples.table(TITLE, COLUMNS, f"{CONNECTIONS} connections, {RATE:g} requests a second.")
    failed, alive = samples.figure(OURS, "failed"), samples.figure(OURS, "survived")
    goals = (
        Goal("svc: failed requests", failed, "≤", 0, 0, total=True),
        Goal("svc: connections that are still the same", alive, "≥", 99, 1, " %"),
    )
    return Outcome((table,), goals if alive.values else ())


def watch(site: peers.Site, reload: Callable[[], None]) -> tuple[float, Seen]:
    """Reload three times; how long that took in seconds, and what was seen."""
    with Load(Options(site.port, RATE, CONNECTIONS, timeout=5.0, keep_alive=True)) as load:
        time.sleep(SETTLE_SECONDS)
        begin = time.monotonic()
        for _ in range(RELOADS):
            reload()
            time.sleep(BETWEEN_SECONDS)
        seconds = time.monotonic() - begin - RELOADS * BETWEEN_SECONDS
        time.sleep(SETTLE_SECONDS)  # each asks once more, and finds out whether it still lives
        return seconds, load.stop()


def survivors(seen: Seen) -> int:
    """How many of the connections that were opened first have answered to the last."""
    first = {answer.connection for answer in seen.answers[:CONNECTIONS]}
    last = {answer.connection for answer in seen.answers[-CONNECTIONS:] if not answer.error}
    return len(first & last)
