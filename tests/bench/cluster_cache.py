"""What workers share: a value of 100 bytes in svc's cache, and in Redis over a unix socket.

One process a worker, as svc runs them: one alone, and eight at once. Redis is asked with redis-py, whose
parser is hiredis. The memory is that of workers that use messages, a job and the cache, as systemd runs them.
"""

import contextlib
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.bench import installed, peers, proc, redis_server
from tests.bench.bench import Bench
from tests.bench.results import Column, Goal, Outcome, Samples
from tests.machine import Machine

TITLE = "The cache of all workers: 100 bytes"
WORKERS = 8
SECONDS = 1.0
OURS, REDIS = "svc", "Redis, redis-py and hiredis"
CALLS = {"get": 20.0, "set": 3.0}
"""And how many times as often as Redis svc must do it."""

WAYS = {"one": 1, "all": WORKERS}
MIB = 1 << 20
PATIENCE = 60.0

COLUMNS = (
    *(
        Column(f"{call} {way}", f"{call}s a second, {'one worker' if count == 1 else f'{count} workers'}")
        for call in CALLS
        for way, count in WAYS.items()
    ),
    Column("memory", "MiB a worker, messages and cache", 2),
)


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples = Samples()
    machine = bench.stack.enter_context(installed.booted())
    redis = bench.stack.enter_context(redis_server.running())
    for number, name in bench.rounds(bench.chosen([OURS, REDIS])):
        shown = []
        for way, count in WAYS.items():
            with _workers(name, redis, count) as workers:
                for call in CALLS:
                    rate = sum(_asked(workers, call))
                    samples.add(name, f"{call} {way}", rate)
                    shown.append(f"{call} {rate:,.0f}/s")
        if name == OURS:
            more = _memory(machine, bench.port()) - _memory(machine, bench.port(), SILENT="1")
            samples.add(name, "memory", more)
            shown.append(f"{more:.2f} MiB")
        bench.say(number, f"{name:<28} {' · '.join(shown)}")
    note = f"{SECONDS:g} s a figure. All read the same key, each writes its own."
    return Outcome((samples.table(TITLE, COLUMNS, note),), tuple(goals(samples)))


def goals(samples: Samples) -> list[Goal]:
    """What svc must reach."""
    found = [
        Goal(
            f"svc, {call}, {'one worker' if count == 1 else f'{count} workers at once'}: times Redis",
            samples.figure(OURS, f"{call} {way}").over(samples.figure(REDIS, f"{call} {way}")),
            "≥",
            limit,
            1,
        )
        for call, limit in CALLS.items()
        for way, count in WAYS.items()
    ]
    memory = samples.figure(OURS, "memory")
    found.append(Goal("svc: MiB a worker, of messages and the cache", memory, "≤", 2.0))
    return [goal for goal in found if goal.figure.values]


@contextlib.contextmanager
def _workers(name: str, redis: str, count: int) -> Iterator[list["subprocess.Popen[str]"]]:
    """Run so many processes that use a cache."""
    kind = "svc" if name == OURS else "redis"
    with contextlib.ExitStack() as stack:
        # The cache is under /run, which is memory on every host, but not in every container.
        memory = "/dev/shm"  # noqa: S108
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="svc-bench-", dir=memory)))
        environment = os.environ | {
            "SVC_APP": "bench",
            "RUNTIME_DIRECTORY": f"{folder}/svc/bench",
            "PYTHONPATH": str(peers.ROOT),
        }
        workers = []
        for number in range(count):
            argv = [str(peers.PYTHON), "-B", str(peers.APPS / "cache_calls.py"), kind, redis, str(number)]
            worker = stack.enter_context(
                subprocess.Popen(
                    argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
                )
            )
            stack.callback(worker.kill)
            workers.append(worker)
        for worker in workers:
            _line(worker)
        yield workers


def _asked(workers: list["subprocess.Popen[str]"], call: str) -> list[float]:
    """Have all of them do one thing at once; return the calls a second of each."""
    for worker in workers:
        assert worker.stdin
        worker.stdin.write(f"{call} {SECONDS}\n")
        worker.stdin.flush()
    return [float(_line(worker)) for worker in workers]


def _line(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout
    line = worker.stdout.readline()
    if not line:
        raise peers.ServerError(f"a process that uses the cache ended: status {worker.wait()}")
    return line


def _memory(machine: Machine, port: int, **env: str) -> float:
    """MiB of PSS of a worker, after each has had some requests."""
    site = peers.Site("shared", port, WORKERS, env)
    with installed.serving(machine, site) as svc:
        for _ in range(10 * WORKERS):
            with urllib.request.urlopen(site.url, timeout=PATIENCE) as answer:
                answer.read()
        pids = svc.pids()
        return sum(proc.pss_bytes(pid) for pid in pids) / len(pids) / MIB
