"""A process that uses the cache of a folder: `python cache_worker.py FOLDER SIZE JOB [ARGUMENT…]`."""

import contextlib
import ctypes
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from svc.cluster.caching import BlockingCache, entries
from svc.cluster.caching.embedded import Embedded

if TYPE_CHECKING:
    from svc.cluster.caching.entries import Writing

KEYS = 50


def value(number: int) -> dict[str, object]:
    """A value that shows when half of it is of another: of several sizes, small and beyond a page."""
    return {"number": number, "text": f"{number:08d}" * (1 + number % 800), "again": number}


def whole(found: dict[str, object]) -> bool:
    """Whether it is what `value` made."""
    number = found["number"]
    return isinstance(number, int) and found == value(number)


def write_for_ever(cache: BlockingCache, name: str) -> None:
    """Set, count, remove and read as fast as it goes, until it is killed."""
    for number in range(1 << 60):
        cache.incr(f"count {name}")
        cache.set(f"key {number % KEYS}", value(number))
        if number % 7 == 0:
            cache.delete(f"key {(number * 3) % KEYS}")
        if number % 11 == 0:
            cache.get_or_compute(f"computed {number % 5}", partial(value, number), ttl=0.01)
        found = cache.get(f"key {(number * 5) % KEYS}")
        assert found is None or whole(found)


def count(cache: BlockingCache, times: str) -> None:
    """Count up, once with incr and once with cas."""
    for _ in range(int(times)):
        cache.incr("by incr")
        while not cache.cas("by cas", before := cache.get("by cas"), before + 1):
            pass


def fill(cache: BlockingCache) -> None:
    """Set more than there is room for; tell how many of 20,000 are left, and what the last one is."""
    print("filling", flush=True)
    for number in range(20_000):
        cache.set(f"{number}", "x" * 1000)
    there = [number for number in range(20_000) if cache.get(f"{number}")]
    print(len(there), there[-1], flush=True)


def compute(cache: BlockingCache, folder: str) -> None:
    """Ask for what takes a while; a file tells of each computation."""

    def slowly() -> int:
        Path(folder, f"computed by {os.getpid()}").touch()
        time.sleep(0.2)
        return os.getpid()

    print(cache.get_or_compute("answer", slowly), flush=True)


def compute_for_ever(cache: BlockingCache) -> None:
    """Begin to compute and never end."""

    def endless() -> None:
        print("computing", flush=True)
        signal.pause()

    cache.get_or_compute("answer", endless)


def hold_a_read(cache: BlockingCache) -> None:
    """Stand still in the middle of a read."""
    store = cache._store
    assert isinstance(store, Embedded)
    with contextlib.ExitStack() as stack:
        for part in store._parts:
            stack.enter_context(part._opened().begin())
        print("reading", flush=True)
        signal.pause()


def hold_a_write(cache: BlockingCache) -> None:
    """Stand still in the middle of a write."""

    def endless(txn: "Writing") -> None:
        entries.put(txn, b"key", b"shalf of it", entries.NEVER)
        print("writing", flush=True)
        signal.pause()

    store = cache._store
    assert isinstance(store, Embedded)
    store._part(b"key").write(endless)


def read_in_silence(cache: BlockingCache) -> None:
    """Read where the kernel kills whoever calls it for anything but to write."""
    cache.get("key")
    refused = only_write()
    for _ in range(1000):
        found = cache.get("key")
    os.write(1, b"%d %d\n" % (refused, found))
    os.getppid()  # and this is the end


def only_write() -> int:
    """Let this process make no system call but write(2), by a filter in BPF (seccomp(2)); 0 when it is so."""
    write = {"x86_64": 1, "aarch64": 64}[os.uname().machine]
    steps = [
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, write),  # equal? else skip one
        (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
        (0x06, 0, 0, 0x80000000),  # SECCOMP_RET_KILL_PROCESS
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("H6xP", len(steps), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None).prctl
    prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    return int(prctl(22, 2, program, 0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def main() -> None:
    """Do one job."""
    folder, size, job, *arguments = sys.argv[1:]
    jobs: dict[str, Callable[..., None]] = {
        "write": write_for_ever,
        "count": count,
        "fill": fill,
        "compute": compute,
        "compute-for-ever": compute_for_ever,
        "hold-a-read": hold_a_read,
        "hold-a-write": hold_a_write,
        "read-in-silence": read_in_silence,
    }
    store = Embedded(Path(folder), int(size))
    jobs[job](BlockingCache(lambda: store), *arguments)


if __name__ == "__main__":
    main()
