"""A crash storm: each of 8 workers exits at a random moment within 10 s, again and again.

200 clients ask as fast as they get answers for ten seconds, each request on a new connection, as
`ab -c200 -t10` does (ab itself stops at the first reset, or counts a failure twice). Handlers compute
for 5 ms. The peer is Node's cluster, whose primary forks a new worker for each that exited.
"""

import tempfile
from pathlib import Path

from tests.bench import installed, peers
from tests.bench.bench import Bench
from tests.bench.loadgen import Options, Seen, drive
from tests.bench.results import Column, Goal, Outcome, Samples
from tests.machine import Machine

TITLE = "Crash storm: 8 workers, each exits within 10 s from its start"
WORKERS, CLIENTS, SECONDS, WITHIN = 8, 200, 10.0, "10"
OURS = ("svc wsgi", "svc asgi")
PEERS = (peers.node_cluster(), peers.gunicorn("sync"))
THEIRS = PEERS[0].name

COLUMNS = (
    Column("requests", "requests", total=True),
    Column("crashes", "crashes", total=True),
    Column("failed", "failed", total=True),
    Column("available", "available %", 3),
    Column("p99", "p99 ms"),
    Column("longest", "longest ms"),
)


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples = Samples()
    known = {peer.name: peer for peer in PEERS}
    machine = bench.stack.enter_context(installed.booted())
    for number, name in bench.rounds(bench.chosen([*OURS, *known])):
        if name in OURS:
            crashes, seen = _ours(bench, machine, name.split()[1])
        else:
            crashes, seen = _theirs(bench, known[name])
        available = 100 * (1 - seen.failed / max(1, len(seen.answers)))
        samples.add(name, "requests", len(seen.answers))
        samples.add(name, "crashes", crashes)
        samples.add(name, "failed", seen.failed)
        samples.add(name, "available", available)
        samples.add(name, "p99", seen.latency(99))
        samples.add(name, "longest", seen.longest())
        said = f"{len(seen.answers):,} requests, {crashes} crashes, {seen.failed} failed {seen.errors()}"
        bench.say(number, f"{name:<14} {said}")
    table = samples.table(TITLE, COLUMNS, f"{CLIENTS} clients; requests, crashes, failures of all runs.")
    return Outcome((table,), tuple(goals(samples)))


def _ours(bench: Bench, machine: Machine, interface: str) -> tuple[int, Seen]:
    site = peers.Site("work", bench.port(), WORKERS, {"CRASH": WITHIN})
    with installed.serving(machine, site, interface):
        before = machine.cursor()
        seen = drive(_load(site), SECONDS)
        return machine.journal(since=before).count("crashing now"), seen


def _theirs(bench: Bench, peer: peers.Peer) -> tuple[int, Seen]:
    with tempfile.TemporaryDirectory(prefix="svc-bench-") as folder:
        site = peers.Site("work", bench.port(), WORKERS, {"CRASH": WITHIN, "CRASHES": folder})
        with peers.running(peer, site):
            before = _count(folder)
            seen = drive(_load(site), SECONDS)
            return _count(folder) - before, seen


def _load(site: peers.Site) -> Options:
    return Options(site.port, 0, CLIENTS, "/work", timeout=20.0)


def _count(folder: str) -> int:
    file = Path(folder, "crashes")
    return file.stat().st_size if file.exists() else 0


def goals(samples: Samples) -> list[Goal]:
    """What svc must reach."""
    found = []
    for name in OURS:
        failed, available = samples.figure(name, "failed"), samples.figure(name, "available")
        crashes = samples.figure(name, "crashes").total
        what = f"{name}: failed requests, with as many crashes"
        found.append(Goal(what, failed, "≤", crashes, 0, total=True))
        above = available.minus(samples.figure(THEIRS, "available"))
        found.append(Goal(f"{name}: availability, above {THEIRS}'s", above, "≥", 0, 3, " %"))
    return [goal for goal in found if goal.figure.values]
