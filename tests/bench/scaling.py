"""Does a second CPU double the work? A handler of 5 ms of CPU time, N workers against one, closed loop.

CPU time and not a fixed amount of work: two hyperthreads of one core do not compute twice as much, and
that is not the server's doing.
"""

from tests.bench import installed, peers, proc
from tests.bench.bench import Bench
from tests.bench.results import Column, Goal, Outcome, Samples
from tests.bench.wrk import wrk

TITLE = "Scaling: 5 ms of CPU time a request"
SECONDS = 3
CONNECTIONS_EACH = 8
OURS = ("svc asgi", "svc wsgi")
PEERS = (peers.uvicorn(), peers.gunicorn("sync"), peers.granian("asgi"), peers.node_cluster())
LEAST = 0.95


def run(bench: Bench) -> Outcome:
    """Measure all."""
    cpus = proc.cpu_count()
    samples = Samples()
    known = {peer.name: peer for peer in PEERS}
    machine = bench.stack.enter_context(installed.booted())
    for number, name in bench.rounds(bench.chosen([*OURS, *known])):
        rates = []
        for workers in dict.fromkeys((1, cpus)):
            site = peers.Site("work", bench.port(), workers)
            if name in OURS:
                with installed.serving(machine, site, name.split()[1]):
                    rates.append(_rate(site))
            else:
                with peers.running(known[name], site):
                    rates.append(_rate(site))
        samples.add(name, "one", rates[0])
        samples.add(name, "all", rates[-1])
        samples.add(name, "times", rates[-1] / rates[0])
        bench.say(number, f"{name:<14} {rates[0]:.0f}/s, {cpus} workers {rates[-1]:.0f}/s")
    columns = (
        Column("one", "1 worker: requests/s"),
        Column("all", f"{cpus} workers: requests/s"),
        Column("times", "times", 2),
    )
    note = f"wrk, {CONNECTIONS_EACH} kept-alive connections a worker; the client shares the CPUs."
    goals = [
        Goal(f"{name}: {cpus} workers, times 1", samples.figure(name, "times"), "≥", LEAST * cpus)
        for name in OURS
        if samples.figure(name, "times").values
    ]
    return Outcome((samples.table(TITLE, columns, note),), tuple(goals))


def _rate(site: peers.Site) -> float:
    return wrk(f"{site.url}work", SECONDS, CONNECTIONS_EACH * site.workers).rate
