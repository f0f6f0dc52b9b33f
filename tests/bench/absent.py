"""The load of `tail`, and one of eight workers is away: stopped for a second (SIGSTOP), killed, restarted.

What the others serve must not suffer: p99 as when steady, and late at most what the absent worker held.
A p99 hangs on the few moments in which slow requests coincide. So each time of a turn, the steady one and
those in which something happens, has the same requests at the same moments; and a run has several turns.
"""

import os
import signal
import time

from tests.bench import installed, peers, tail
from tests.bench.bench import Bench
from tests.bench.loadgen import Load, Options, Seen, together
from tests.bench.results import Column, Goal, Outcome, Samples

TITLE = "One of 8 workers is away, the load as in the tail latency"
TURNS = 3
AWAY_SECONDS = 1.0
WINDOW_SECONDS = 3.0  # from the event on: until all is as before
LATE_MS = 400.0  # nothing that a worker did is as slow: it waited for an absent one
STEADY = "steady"
CASES = ("stopped", "killed", "restarted")
OURS, OTHERS = tail.OURS, (tail.SHARED, tail.REUSEPORT)

COLUMNS = (
    Column("steady p99", "steady p99 ms", 1),
    *(
        column
        for case in CASES
        for column in (
            Column(f"{case} p99", f"{case}: p99 ms", 1),
            Column(f"{case} late", f"over {LATE_MS:.0f} ms", 1),
            Column(f"{case} failed", "failed", 1),
        )
    ),
)

Server = peers.Running | installed.Svc


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples = Samples()
    machine = bench.stack.enter_context(installed.booted())
    for number, name in bench.rounds(bench.chosen([OURS, *OTHERS])):
        site = peers.Site("work", bench.port(), tail.WORKERS)
        with tail.serving(name, site, machine) as server:
            times = {kind: list[Seen]() for kind in (STEADY, *CASES)}
            for turn in range(TURNS):
                options = tail.load(site, TURNS * number + turn)
                for kind, seen in times.items():
                    seen.append(watch(kind, server, options))
        shown = []
        for kind, during in times.items():
            p99 = together(during).where(lambda answer: not answer.slow).latency(99)
            samples.add(name, f"{kind} p99", p99)
            shown.append(f"{kind} p99 {p99:.1f}")
            if kind == STEADY:
                continue
            for one in during:
                late = sum(1000 * answer.latency > LATE_MS for answer in one.answers)
                samples.add(name, f"{kind} late", late)
                samples.add(name, f"{kind} failed", one.failed)
                shown.append(f"({late} late, {one.failed} failed)")
        bench.say(number, f"{name:<20} {' · '.join(shown)}")
    note = f"p99 of the fast requests in the {WINDOW_SECONDS:g} s from each event on, {TURNS} of each a run."
    return Outcome((samples.table(TITLE, COLUMNS, note),), tuple(goals(samples)))


def watch(kind: str, server: Server, options: Options) -> Seen:
    """Let it happen under a load, until all is as before."""
    with Load(options) as load:
        begin = time.monotonic()
        if kind != STEADY:
            go_away(kind, server)
        time.sleep(max(0.0, begin + WINDOW_SECONDS - time.monotonic()))
        return load.stop()


def go_away(case: str, server: Server) -> None:
    """Make one worker absent, in one of three ways."""
    victims = server.pids() if isinstance(server, installed.Svc) else server.workers()
    victim = victims[len(victims) // 2]
    if case == "stopped":
        os.kill(victim, signal.SIGSTOP)
        time.sleep(AWAY_SECONDS)
        os.kill(victim, signal.SIGCONT)
    elif case == "killed":
        os.kill(victim, signal.SIGKILL)
    elif isinstance(server, installed.Svc):
        server.machine.systemctl("restart", f"{server.name}@{len(victims) // 2}.service")
    else:
        os.kill(victim, signal.SIGTERM)


def goals(samples: Samples) -> list[Goal]:
    """What svc must reach."""
    steady = samples.figure(OURS, "steady p99")
    found = []
    for case in CASES:
        p99 = samples.figure(OURS, f"{case} p99").over(steady)
        found.append(Goal(f"svc, a worker {case}: p99, times steady", p99, "≤", 1.5))
        # WSGI answers one request at a time, so an absent worker holds one.
        late = samples.figure(OURS, f"{case} late")
        found.append(Goal(f"svc, a worker {case}: requests that were late", late, "≤", 1, 0))
    failed = {case: samples.figure(OURS, f"{case} failed") for case in CASES}
    found.append(Goal("svc, a worker killed: failed requests", failed["killed"], "≤", 1, 0))
    found.append(Goal("svc, a worker restarted: failed requests", failed["restarted"], "≤", 0, 0))
    return [goal for goal in found if goal.figure.values]
