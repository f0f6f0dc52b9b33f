"""`make demo`: an application on all CPUs, reloaded under load, in a systemd that is thrown away.

Exit status 0 means that no request failed and that every worker was replaced.
"""

import argparse
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Iterator

from tests.client import LoadProcess, get, load
from tests.install import APPS, SERVED, VENV, install
from tests.machine import Machine
from tests.measure import Result
from tests.nspawn import MachineError

RATE = 1000  # requests a second: far from saturation, where a delay would be ours and not the workers'
CONNECTIONS = 50
HALF = 5  # seconds of load before the reload; as many from its start to the end

APP = """\
app = "hello:app"
directory = "{apps}"
python = "{venv}/bin/python"
listen = ["127.0.0.1:{port}"]
workers = {workers}
"""


def main() -> int:
    """The whole demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", default="auto", help="a number, or auto: one per CPU")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        refuse_taken(options.port)
        with contextlib.ExitStack() as stack:
            with step("booting a throwaway systemd"):
                machine = stack.enter_context(Machine(SERVED))
            return show(machine, options.port, options.workers)
    except KeyboardInterrupt:
        print("\nInterrupted; everything is put away.")
        return 130
    except MachineError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def refuse_taken(port: int) -> None:
    """Raise MachineError when somebody listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            cure = "choose another: make demo PORT=8001"
            raise MachineError(f"127.0.0.1:{port}: {error.strerror}; {cure}") from None


def show(machine: Machine, port: int, workers: str) -> int:
    """Everything that happens in the machine; the exit status."""
    url = f"http://127.0.0.1:{port}/"
    with step("installing svc into it (make install)"):
        install(machine)
    count = workers if workers.isdigit() else f'"{workers}"'
    machine.write("/etc/svc/hello.toml", APP.format(apps=APPS, venv=VENV, port=port, workers=count))
    with step(f"systemctl start hello.target, on {url}"):
        machine.systemctl("daemon-reload")
        machine.systemctl("start", "hello.target")
    before = pids(machine)
    print(f"\n{get(url).body.decode()}")
    print(f"Load: {RATE:,} requests a second over {CONNECTIONS} connections.")
    with load(url, connections=CONNECTIONS, rate=RATE) as running:
        drive(running, HALF)
        began = time.monotonic()
        running.mark("during the reload")
        with step("systemctl reload hello.target"):
            reloaded = machine.systemctl("reload", "hello.target", check=False)
        running.mark("after")
        drive(running, HALF - int(time.monotonic() - began))
    after = pids(machine)
    good = report(running.result, before, after)
    if reloaded.returncode:
        print(f"The reload failed:\n{reloaded.stderr}{machine.journal('hello.service')}", file=sys.stderr)
        good = False
    if sys.stdin.isatty() and sys.stdout.isatty():
        print(f"\nStill serving on {url} until Ctrl-C.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        print()
    return 0 if good else 1


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(f"{what} … ", end="", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - began:.1f} s", flush=True)


def drive(running: LoadProcess, seconds: int) -> None:
    """Let the load run for so long, with a line of progress each second."""
    for _ in range(seconds):
        running.wait(RATE)
        requests, failed = running.count()
        print(f"  {requests:>6,} requests, {failed} failed", flush=True)


def pids(machine: Machine) -> list[int]:
    """The process ids of the workers, as the machine numbers them."""
    shown = machine.systemctl("show", "--value", "--property=MainPID", "hello@*.service").stdout
    return sorted(int(pid) for pid in shown.split() if pid != "0")


def report(result: Result, before: list[int], after: list[int]) -> bool:
    """Print what was seen; True when no request failed and every worker is a new one."""
    print(f"\n{result.table()}\n")
    print(f"workers before: {' '.join(map(str, before))}")
    print(f"workers after:  {' '.join(map(str, after))}")
    return result.failed == 0 and len(after) == len(before) > 0 and not set(before) & set(after)


if __name__ == "__main__":
    sys.exit(main())
