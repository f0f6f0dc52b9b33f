"""`make soak`, `make soak MINUTES=60`: every fault under load, then minutes of reloads and kills.

Prints what clients saw. When all has run it also writes tests/soak/results (JSON) and the table of
faults in README.md. Exit status 0 means that nothing was lost that need not have been.
"""

import argparse
import datetime
import os
import signal
import sys
from collections.abc import Callable

from svc import __version__
from tests.bench import facts, readme
from tests.install import REPOSITORY, SERVED, install
from tests.machine import Machine
from tests.nspawn import MachineError
from tests.ports import free_port
from tests.soak import results, scenarios, steady
from tests.soak.trial import Row
from tests.system.conftest import App

LEAST_MINUTES = 0.1


def main() -> int:
    """Run everything; the exit status."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of reloads and kills, 10 without")
    parser.add_argument("--report", action="store_true", help="run nothing, write README.md anew")
    options = parser.parse_args()
    if not options.minutes >= LEAST_MINUTES:
        parser.error(f"MINUTES: at least {LEAST_MINUTES:g}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.report:
            results.update(results.read())
            return 0
        return run(round(options.minutes * 60))
    except KeyboardInterrupt:
        print("\nInterrupted; everything is put away, and nothing was written.", file=sys.stderr)
        return 130
    except (MachineError, readme.NoPlaceError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1


def run(seconds: int) -> int:
    """Run in one machine, and keep what was seen when nothing went wrong."""
    rows: list[Row] = []
    bad = 0
    with Machine(SERVED) as machine:
        install(machine)
        machine.checkpoint()
        for name, scenario in scenarios.TABLE.items():
            row = attempt(machine, name.replace("_", " "), scenario)
            rows += [row] if row else []
            bad += row is None
        row = attempt(machine, "reloads and kills", lambda app: steady.for_seconds(app, seconds, progress))
        rows += [row] if row else []
        bad += row is None
        systemd = machine.systemctl("--version").stdout.split()[1]
    print(f"\n{results.table(rows)}\n")
    if bad:
        print(f"soak: {bad} went wrong: nothing was written", file=sys.stderr)
        return 1
    keep(rows, systemd)
    return 0


def attempt(machine: Machine, name: str, scenario: Callable[[App], Row]) -> Row | None:
    """One scenario, in a machine that is clean before and after; None, and why, when it went wrong."""
    print(f"{name} … ", end="", flush=True)
    try:
        row = scenario(App(machine, free_port()))
    except (AssertionError, TimeoutError) as error:
        print(f"WRONG:\n{error}\n{machine.journal()[-6000:]}", flush=True)
        return None
    finally:
        machine.reset()
    print(f"{row.requests:,} requests, {row.failed} failed, {row.allowed} allowed", flush=True)
    return row


def progress(line: str) -> None:
    """Show how far the soak is: in place on a terminal, a line each 10 s elsewhere."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line}", end="", flush=True)
    elif line.split(maxsplit=1)[0].endswith("0"):
        print(f"\n{line}", end="", flush=True)


def keep(rows: list[Row], systemd: str) -> None:
    """Write the results and the table, as the owner of the tree."""
    found = results.Results(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        cpus=len(os.sched_getaffinity(0)),
        kernel=facts.machine()["kernel"],
        systemd=systemd,
        svc=__version__,
        rows=tuple(rows),
    )
    results.write(found)
    results.update(found)
    owner = REPOSITORY.stat()
    for path in (results.PATH.parent, results.PATH, readme.README):
        os.chown(path, owner.st_uid, owner.st_gid)


if __name__ == "__main__":
    sys.exit(main())
