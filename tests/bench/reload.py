"""A reload under load: does a client notice?

An open loop of 1,010 requests a second (kept-alive connections, new ones, slow answers, uploads) and
20 WebSockets run on while the server replaces its workers with new ones, whose start-up takes a
second. The percentiles are those of the kept-alive and the new connections.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench import installed, peers
from tests.bench.bench import Bench
from tests.bench.curves import Curves
from tests.bench.echoes import Counts, Echoes
from tests.bench.loadgen import Load, Options, Seen, loads, together
from tests.bench.results import Column, Goal, Outcome, Samples

TITLE = "Reload under load, a start-up of 1 s"
STARTUP = 1.0
WARM_SECONDS = 0.5
STEADY_SECONDS = {1: 4.0, 2: 5.0, 8: 9.0}  # more with more workers, as their reload takes longer
PEER_STEADY_SECONDS = 3.0
AFTER_SECONDS = 1.0
LATER_MS = 50.0  # how much longer than the longest without a reload one may take

COLUMNS = (
    Column("requests", "requests", total=True),
    Column("failed", "failed", total=True),
    Column("websockets", "WebSockets cut", total=True),
    Column("seconds", "reload s", 1),
    Column("steady p99.9", "steady p99.9 ms", 1),
    Column("p99.9", "reload p99.9 ms", 1),
    Column("steady longest", "steady longest ms", 1),
    Column("longest", "reload longest ms", 1),
)


@dataclass(frozen=True)
class Contestant:
    """A server with so many workers; svc has no peer."""

    workers: int
    peer: peers.Peer | None = None
    websockets: bool = True

    @property
    def name(self) -> str:
        """As tables have it."""
        return f"{self.peer.name if self.peer else 'svc'}, {self.workers} worker{'s'[: self.workers - 1]}"


CONTESTANTS = (
    Contestant(1),
    Contestant(2),
    Contestant(8),
    Contestant(2, peers.uvicorn()),
    # The slowest answer takes 2 s. WebSockets keep it waiting for all of this time.
    Contestant(2, peers.gunicorn("asgi", "--graceful-timeout", "10")),
    Contestant(2, peers.gunicorn("gthread", "--threads", "64"), websockets=False),
    Contestant(2, peers.granian("asgi")),
    Contestant(2, peers.pm2(), websockets=False),
    Contestant(2, peers.node_cluster(), websockets=False),
)


@dataclass(frozen=True)
class Window:
    """What was seen from the beginning of the reload to a little after its end, and before it."""

    seconds: float
    steady: Seen
    reload: Seen
    others: Seen
    websockets: Counts


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples, curves = Samples(), Curves()
    chosen = bench.chosen([one.name for one in CONTESTANTS])
    contestants = [one for one in CONTESTANTS if one.name in chosen]
    machine = bench.stack.enter_context(installed.booted())
    for number, one in bench.rounds(contestants):
        site = peers.Site("work", bench.port(), one.workers, {"STARTUP": str(STARTUP)})
        if one.peer is None:
            with installed.serving(machine, site) as svc:
                window = watch(one, site, lambda svc=svc: svc.reload() and None)  # type: ignore[misc]
        else:
            with peers.running(one.peer, site) as server:
                window = watch(one, site, server.reload)
        note(samples, one.name, window)
        curves.add(one.name, window.reload.latencies())
        if one.peer is None:
            curves.add(f"{one.name}, steady", window.steady.latencies())
        everything = together((window.reload, window.others))
        said = f"{window.seconds:.1f} s, {len(everything.answers):,} requests, {everything.failed} failed"
        said += f" {everything.errors()}" if everything.failed else ""
        said += f", {window.websockets.failed} WebSockets cut" if one.websockets else ""
        bench.say(number, f"{one.name:<26} {said}, longest {window.reload.longest():.1f} ms")
    table = samples.table(TITLE, COLUMNS, "One reload a run; requests and failures of all runs.")
    return Outcome((table,), tuple(goals(samples)), curves.all())


def watch(one: Contestant, site: peers.Site, reload: Callable[[], None]) -> Window:
    """Drive the load over one reload."""
    fast = (
        Options(site.port, 800, 50, keep_alive=True, poisson=True),
        Options(site.port, 200, 500, poisson=True),
    )
    others = (
        Options(site.port, 5, 100, "/slow"),
        Options(site.port, 5, 100, body=200_000, pieces=10, piece_seconds=0.5),
    )
    if not one.websockets:
        return _drive(one, fast, others, reload, None)
    with Echoes(site.port) as echoes:
        return _drive(one, fast, others, reload, echoes)


def _drive(
    one: Contestant,
    fast: tuple[Options, ...],
    others: tuple[Options, ...],
    reload: Callable[[], None],
    echoes: Echoes | None,
) -> Window:
    with loads(*fast) as running, loads(*others) as running_others:
        time.sleep(WARM_SECONDS)
        steady = time.monotonic()
        time.sleep(PEER_STEADY_SECONDS if one.peer else STEADY_SECONDS[one.workers])
        begin = time.monotonic()
        reload()
        done = time.monotonic()
        # Some have ended their old workers before the new ones are ready.
        end = max(done, begin + STARTUP) + AFTER_SECONDS
        time.sleep(end - done)
        counts = echoes.stop() if echoes else Counts()
        seen, seen_others = _stop(running), _stop(running_others)
    # A slow answer or an upload that began before is interrupted by the reload all the same.
    return Window(
        done - begin,
        seen.between(steady, begin),
        seen.between(begin, end),
        seen_others.between(steady, end),
        counts,
    )


def _stop(running: list[Load]) -> Seen:
    return together([load.stop() for load in running])


def note(samples: Samples, name: str, window: Window) -> None:
    """Note the figures of one run."""
    everything = together((window.reload, window.others))
    samples.add(name, "requests", len(everything.answers))
    samples.add(name, "failed", everything.failed)
    if window.websockets.echoes:
        samples.add(name, "websockets", window.websockets.failed)
    samples.add(name, "seconds", window.seconds)
    for prefix, seen in (("steady ", window.steady), ("", window.reload)):
        samples.add(name, f"{prefix}p99.9", seen.latency(99.9))
        samples.add(name, f"{prefix}longest", seen.longest())


def goals(samples: Samples) -> list[Goal]:
    """What svc must reach."""
    found = []
    for one in CONTESTANTS:
        name = one.name
        if one.peer is not None or not samples.figure(name, "failed").values:
            continue
        p999 = samples.figure(name, "p99.9").over(samples.figure(name, "steady p99.9"))
        later = samples.figure(name, "longest").minus(samples.figure(name, "steady longest"))
        found += [
            Goal(f"{name}: failed requests", samples.figure(name, "failed"), "≤", 0, 0, total=True),
            Goal(f"{name}: WebSockets cut", samples.figure(name, "websockets"), "≤", 0, 0, total=True),
            Goal(f"{name}: p99.9 during the reload, times steady", p999, "≤", 1.5),
            Goal(f"{name}: longest, over the longest when steady", later, "≤", LATER_MS, 0, " ms"),
        ]
    return found
