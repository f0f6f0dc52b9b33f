"""wrk, the closed-loop load generator: as many requests as a server can answer."""

import re
import subprocess
from dataclasses import dataclass

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Closed:
    """What wrk saw: `seconds` is how long it really took."""

    requests: int
    seconds: float
    failed: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds else 0.0


def wrk(
    url: str, seconds: int, connections: int, *, keep_alive: bool = True, cpu: int | None = None
) -> Closed:
    """Drive load for so many seconds, from one thread (on a CPU of its own when `cpu` names one)."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    argv += [] if keep_alive else ["-H", "Connection: close"]
    if cpu is not None:
        argv = ["taskset", "-c", str(cpu), *argv]
    done = subprocess.run([*argv, url], check=True, capture_output=True, text=True, timeout=120)
    return parse(done.stdout)


def parse(text: str) -> Closed:
    """Read what wrk prints."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text)
    if total is None:
        raise ValueError(f"wrk said something unknown:\n{text}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = sum(int(count) for count in errors.groups()) if errors else 0
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failed += int(bad[1]) if bad else 0
    return Closed(int(total[1]), float(total[2]) * UNITS[total[3]], failed)
