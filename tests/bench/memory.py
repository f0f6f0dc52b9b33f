"""What a worker costs in memory: PSS (shared pages divided by those who share them), 4 workers.

All processes of a server count, its master too; without preloading, which would make a broken new
version of the application fatal to the master. A bare Python that imports the application is the floor
of whoever starts each worker as a process of its own.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.bench import installed, peers, proc
from tests.bench.bench import Bench
from tests.bench.results import Column, Goal, Outcome, Samples
from tests.bench.wrk import wrk

TITLE = "Memory a worker, of 4 workers"
WORKERS = 4
SECONDS = 1
OURS, FLOOR = "svc", "bare Python that imports it"
APPS = {
    "Flask": (
        "flask_site",
        "wsgi",
        (peers.gunicorn("sync"), peers.gunicorn("gthread", "--threads", "4"), peers.granian("wsgi")),
    ),
    "Starlette": ("starlette_site", "asgi", (peers.gunicorn("asgi"), peers.granian("asgi"), peers.uvicorn())),
}
THEIRS = {"Flask": "gunicorn sync", "Starlette": "gunicorn asgi"}
COLUMNS = (
    Column("all", "PSS MiB a worker, master included", 1),
    Column("worker", "PSS MiB of the workers alone", 1),
)
MIB = 1 << 20


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples = Samples()
    machine = bench.stack.enter_context(installed.booted())
    contestants = [(app, peer) for app, (_, _, others) in APPS.items() for peer in (OURS, FLOOR, *others)]
    for number, (app, peer) in bench.rounds(contestants):
        module, interface, _ = APPS[app]
        name = f"{app}: {peer if isinstance(peer, str) else peer.name}"
        site = peers.Site(module, bench.port(), WORKERS)
        if peer == OURS:
            with installed.serving(machine, site, interface) as svc:
                wrk(site.url, SECONDS, 4 * WORKERS)
                everything = workers = _pss(svc.pids())
        elif isinstance(peer, str):
            with _importing(module) as pids:
                everything = workers = _pss(pids)
        else:
            with peers.running(peer, site) as server:
                wrk(site.url, SECONDS, 4 * WORKERS)
                everything, workers = _pss(server.pids()), _pss(server.workers())
        samples.add(name, "all", everything)
        samples.add(name, "worker", workers)
        bench.say(number, f"{name:<38} {everything:.1f} MiB a worker")
    goals = [
        Goal(
            f"{app}, svc: memory a worker, times {theirs}",
            samples.figure(f"{app}: svc", "all").over(samples.figure(f"{app}: {theirs}", "all")),
            "≤",
            1.0,
        )
        for app, theirs in THEIRS.items()
    ]
    return Outcome((samples.table(TITLE, COLUMNS, "After a second of requests."),), tuple(goals))


@contextmanager
def _importing(module: str) -> Iterator[list[int]]:
    """As many processes as there are workers, each with the application in it and nothing else."""
    script = f"import {module}; print(flush=True); input()"
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [peers.PYTHON, "-B", "-c", script],
                    cwd=peers.APPS,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            for _ in range(WORKERS)
        ]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            if process.stdout is None or not process.stdout.readline():
                raise peers.ServerError(f"{module} cannot be imported")
        yield [process.pid for process in processes]


def _pss(pids: list[int]) -> float:
    return sum(proc.pss_bytes(pid) for pid in pids) / WORKERS / MIB
