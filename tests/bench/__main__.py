"""`make bench`, `make bench PART=reload RUNS=5`: measure svc and its peers side by side.

Prints tables and plots, and says of each limit whether it is reached. With five runs or more it also
writes tests/bench/results/ (JSON, PNG) and the section "Performance" of README.md.
"""

import argparse
import datetime
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

from tests.bench import facts, loadgen, peers, plots, readme, report, results
from tests.bench.bench import Bench, NobodyError
from tests.nspawn import MachineError

PARTS = (
    "scaling", "overhead", "tail", "absent", "keepalive", "reload", "crash", "boot", "memory", "cluster",
    "cluster_cache",
)  # fmt: skip
LEAST_RUNS = 5  # fewer say too little about the spread to be kept


def main() -> int:
    """Run what was asked for; 0 when it could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without")
    parser.add_argument("--runs", type=int, default=LEAST_RUNS)
    parser.add_argument("--only", default="", help="names of servers, separated by semicolons")
    parser.add_argument("--report", action="store_true", help="measure nothing, write README.md anew")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.runs < 1:
        parser.error("--runs: at least one")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    only = tuple(name.strip() for name in options.only.split(";") if name.strip())
    kept = options.runs >= LEAST_RUNS and not only
    try:
        for part in [] if options.report else options.parts or PARTS:
            measure(part, options.runs, only, kept=kept)
        if kept or options.report:
            readme.update(readme.stored(PARTS))
        else:
            print(f"Not kept: that takes all servers and RUNS={LEAST_RUNS} or more.", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except (NobodyError, peers.ServerError, loadgen.LoadError, MachineError, readme.NoPlaceError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        give_back()
    return 0


def measure(part: str, runs: int, only: tuple[str, ...], *, kept: bool) -> None:
    """Run one part, print it, and write its results when they are to be kept."""
    module: ModuleType = importlib.import_module(f"tests.bench.{part}")
    began, date = time.monotonic(), datetime.datetime.now(datetime.UTC)
    bench = Bench(part, runs, only)
    with bench.stack:
        outcome = module.run(bench)
    result = results.Result(
        part=part,
        title=module.TITLE,
        runs=runs,
        seconds=round(time.monotonic() - began, 1),
        date=date.strftime("%Y-%m-%d %H:%M UTC"),
        machine=facts.machine(),
        versions=facts.versions(),
        outcome=outcome,
    )
    print(f"\n{report.terminal(result)}\n", flush=True)
    if kept:
        results.write(result)
        plots.draw(result)


def give_back() -> None:
    """Leave nothing of root's in the tree of a user who called sudo."""
    owner = peers.ROOT.stat()
    folders = [results.FOLDER, loadgen.BINARY.parent, loadgen.BINARY.parent.parent]
    files = [file for folder in folders[:2] if folder.is_dir() for file in folder.iterdir()]
    for path in [*folders, *files, readme.README]:
        if Path(path).exists() and Path(path).stat().st_uid != owner.st_uid:
            os.chown(path, owner.st_uid, owner.st_gid)


if __name__ == "__main__":
    sys.exit(main())
