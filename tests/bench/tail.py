"""Who gets the next connection: tail latency, shares of the workers, long-lived connections.

Eight workers with a handler that blocks for 5 ms, 2 % of requests for 100 ms. An open loop offers 60 %
of what they can do, each request on a connection of its own, at random times (Poisson). Blocking is
sleeping, because eight workers on fewer CPUs could not compute at the same time. svc runs its WSGI worker.
The limits compare it with two bare loops, which tell the ways of accepting apart; uvicorn and granian are
what people would run.
"""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.bench import installed, peers
from tests.bench.bench import Bench
from tests.bench.curves import Curves
from tests.bench.loadgen import Options, Seen, drive
from tests.bench.results import Column, Goal, Outcome, Samples
from tests.machine import Machine

TITLE = "Tail latency, 8 workers, 2 % of requests 20 times slower, 60 % utilisation"
WORKERS = 8
SLOW_SHARE = 0.02
UTILISATION = 0.6
SERVICE_SECONDS = (1 - SLOW_SHARE) * 0.005 + SLOW_SHARE * 0.1
RATE = UTILISATION * WORKERS / SERVICE_SECONDS
SECONDS = 20.0  # p99 hangs on how often slow requests coincide: few seconds see too few of that
LONG_LIVED = 800
OURS, SHARED, REUSEPORT = "svc", "one shared listener", "plain SO_REUSEPORT"
PLAIN = {SHARED: peers.reference("shared"), REUSEPORT: peers.reference("reuseport")}
SERVERS = {peer.name: peer for peer in (peers.uvicorn(), peers.granian("wsgi"))}

COLUMNS = (
    Column("p50", "p50 ms", 1),
    Column("p99", "p99 ms", 1),
    Column("p99.9", "p99.9 ms", 1),
    Column("failed", "failed", total=True),
    Column("busiest", "busiest worker / average", 2),
    Column("fewest", "long-lived: fewest"),
    Column("most", "most a worker"),
)


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples, curves = Samples(), Curves()
    machine = bench.stack.enter_context(installed.booted())
    for number, name in bench.rounds(bench.chosen([OURS, *PLAIN, *SERVERS])):
        site = peers.Site("work", bench.port(), WORKERS)
        with serving(name, site, machine):
            seen = drive(load(site, number), SECONDS)
            held = hold(site, LONG_LIVED)
        fast = seen.where(lambda answer: not answer.slow)
        shares = Counter(answer.pid for answer in seen.answers if not answer.error)
        for key, percent in (("p50", 50), ("p99", 99), ("p99.9", 99.9)):
            samples.add(name, key, fast.latency(percent))
        samples.add(name, "failed", seen.failed)
        samples.add(name, "busiest", max(shares.values()) / (shares.total() / WORKERS))
        samples.add(name, "fewest", held[0])
        samples.add(name, "most", held[-1])
        curves.add(name, fast.latencies())
        bench.say(number, f"{name:<20} {summary(fast)}, long-lived {held[0]} to {held[-1]}")
    note = f"{RATE:.0f} requests a second; the percentiles are those of the fast requests."
    return Outcome((samples.table(TITLE, COLUMNS, note),), tuple(goals(samples)), curves.all())


def load(site: peers.Site, seed: int, rate: float = RATE) -> Options:
    """The load that the head of this module describes."""
    return Options(
        site.port, rate, 4000, "/block", "/long-block", SLOW_SHARE, timeout=10.0, poisson=True, seed=seed
    )


@contextmanager
def serving(name: str, site: peers.Site, machine: Machine) -> Iterator[peers.Running | installed.Svc]:
    """One of them, by its name in the tables."""
    if name == OURS:
        with installed.serving(machine, site, "wsgi") as ours:
            yield ours
    else:
        with peers.running((PLAIN | SERVERS)[name], site) as server:
            yield server


def summary(seen: Seen) -> str:
    """The percentiles for a line of progress."""
    return f"p50 {seen.latency(50):.1f} p99 {seen.latency(99):.1f} p99.9 {seen.latency(99.9):.1f} ms"


def hold(site: peers.Site, connections: int) -> list[int]:
    """Open connections, each asks once and stays; how many each worker has, ordered."""
    owners: Counter[str] = Counter()
    with ExitStack() as stack:
        for _ in range(connections):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), 10.0))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            owners[_body(sock)] += 1
            time.sleep(0.0005)
    return sorted([*owners.values(), *[0] * (WORKERS - len(owners))])


def _body(sock: socket.socket) -> str:
    data = b""
    while not data.partition(b"\r\n\r\n")[2].endswith(b"\n"):
        more = sock.recv(4096)
        if not more:
            raise ConnectionError("a long-lived connection was closed before its answer")
        data += more
    return data.partition(b"\r\n\r\n")[2].decode()


def goals(samples: Samples) -> list[Goal]:
    """What svc must reach."""
    p99, busiest = samples.figure(OURS, "p99"), samples.figure(OURS, "busiest")
    found = [
        Goal("svc: p99, times one shared listener", p99.over(samples.figure(SHARED, "p99")), "≤", 1.1),
        Goal("svc: p99, times plain SO_REUSEPORT", p99.over(samples.figure(REUSEPORT, "p99")), "≤", 0.15),
        Goal("svc: busiest worker, times the average", busiest, "≤", 1.2),
        Goal("svc: fewest long-lived connections of a worker", samples.figure(OURS, "fewest"), "≥", 95, 0),
        Goal("svc: most long-lived connections of a worker", samples.figure(OURS, "most"), "≤", 105, 0),
    ]
    return [goal for goal in found if goal.figure.values]
