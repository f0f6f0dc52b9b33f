"""What a server costs: hello world, one worker, kept-alive and new connections, closed loop.

The worker is pinned to one CPU and the client to another, so that the client never takes the worker's
time. Two seconds are enough: a request takes some 20 µs, so a run has tens of thousands.
"""

import os

from tests.bench import peers
from tests.bench.bench import Bench
from tests.bench.results import Column, Figure, Goal, Outcome, Samples
from tests.bench.wrk import wrk

TITLE = "Overhead: hello world, one worker on one CPU"
SECONDS = 2
WARM_SECONDS = 1  # the least that wrk can do
CONNECTIONS = 32
WAYS = {"keep-alive": True, "new connections": False}

PEERS = (
    peers.svc("asgi"),
    peers.uvicorn(),
    peers.granian("asgi"),
    peers.gunicorn("asgi"),
    peers.hypercorn(),
    peers.node(),
    peers.svc("wsgi"),
    peers.gunicorn("sync"),
    peers.gunicorn("gthread", "--threads", "4"),
    peers.granian("wsgi"),
)
EXTRA = (peers.svc("asgi", "asyncio"), peers.uvicorn("asyncio"), peers.svc("wsgi", "asyncio"))
"""Only when ONLY= names them."""

COLUMNS = tuple(
    column
    for way in WAYS
    for column in (Column(f"{way} rate", f"{way}: requests/s"), Column(f"{way} cpu", "CPU µs a request", 1))
)


def run(bench: Bench) -> Outcome:
    """Measure all."""
    cpus = sorted(os.sched_getaffinity(0))
    server_cpu, client_cpu = (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)
    samples = Samples()
    known = {peer.name: peer for peer in (*PEERS, *EXTRA)}
    names = bench.chosen(list(known)) if bench.only else [peer.name for peer in PEERS]
    for number, name in bench.rounds(names):
        site = peers.Site("hello", bench.port(), cpu=server_cpu)
        with peers.running(known[name], site) as server:
            shown = []
            wrk(site.url, WARM_SECONDS, CONNECTIONS, cpu=client_cpu)
            for way, keep_alive in WAYS.items():
                before = server.cpu_seconds()
                seen = wrk(site.url, SECONDS, CONNECTIONS, keep_alive=keep_alive, cpu=client_cpu)
                cpu = 1e6 * (server.cpu_seconds() - before) / max(1, seen.requests)
                samples.add(name, f"{way} rate", seen.rate)
                samples.add(name, f"{way} cpu", cpu)
                shown.append(f"{way} {seen.rate:,.0f}/s {cpu:.1f} µs")
                if seen.failed:
                    shown.append(f"({seen.failed} failed)")
        bench.say(number, f"{name:<18} {' · '.join(shown)}")
    table = samples.table(TITLE, COLUMNS, f"wrk, {CONNECTIONS} connections, {SECONDS} s a run.", names)
    return Outcome((table,), tuple(goals(samples)))


def goals(samples: Samples) -> list[Goal]:
    """What must be reached, for those that were measured."""
    found = []
    for way in WAYS:
        for ours, theirs, limit in (("svc asgi", "uvicorn", 1.0), ("svc wsgi", "gunicorn sync", 4.0)):
            rate = _ratio(samples, ours, theirs, f"{way} rate")
            found.append(Goal(f"{ours}, {way}: requests/s, times {theirs}", rate, "≥", limit))
        cpu = _ratio(samples, "svc asgi", "uvicorn", f"{way} cpu")
        found.append(Goal(f"svc asgi, {way}: CPU a request, times uvicorn", cpu, "≤", 1.0))
    return [goal for goal in found if goal.figure.values]


def _ratio(samples: Samples, ours: str, theirs: str, column: str) -> Figure:
    return samples.figure(ours, column).over(samples.figure(theirs, column))
