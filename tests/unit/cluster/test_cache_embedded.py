"""The store that workers of a host share: many processes, killed at any moment; full; full of the dead."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zlib import crc32

import pytest

from svc.cluster.caching import BlockingCache, writing
from svc.cluster.caching.claims import HostClaim
from svc.cluster.caching.embedded import PARTS, Embedded
from svc.cluster.caching.memory import Memory
from svc.cluster.caching.store import Store
from svc.cluster.errors import CacheError
from tests.unit.cluster.cache_worker import KEYS, whole

SIZE = 16 << 20
SCRIPT = Path(__file__).with_name("cache_worker.py")


@contextlib.contextmanager
def process(
    folder: Path, job: str, *arguments: str, size: int = SIZE, python: str = sys.executable
) -> Iterator[subprocess.Popen[str]]:
    command = [python, "-B", str(SCRIPT), str(folder), str(size), job, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def said(running: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert running.stdout
    return running.stdout.readline().strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> Iterator[BlockingCache]:
    store = Embedded(folder, SIZE)
    yield BlockingCache(lambda: store)
    store.close()


def test_eight_processes_count_without_losing_one(cache: BlockingCache, folder: Path, other: str) -> None:
    cache.set("by cas", 0)
    with contextlib.ExitStack() as stack:
        counting = [
            stack.enter_context(process(folder, "count", "300", python=python))
            for python in [sys.executable, other] * 4
        ]
        for one in counting:
            assert one.wait(60) == 0, one.stderr and one.stderr.read()
    assert cache.get("by incr") == cache.get("by cas") == 2400


def test_sigkill_in_the_middle_of_writes_leaves_all_whole(
    cache: BlockingCache, folder: Path, other: str
) -> None:
    chance = random.Random(5)
    counts = {f"count {number}": 0 for number in range(60)}
    with contextlib.ExitStack() as stack:

        def start(name: str) -> subprocess.Popen[str]:
            python = other if int(name) % 2 else sys.executable
            return stack.enter_context(process(folder, "write", name, python=python))

        writers = [start(str(number)) for number in range(3)]
        for number in range(3, len(counts)):
            # All are in the middle of their work: they have written, and go on until some moment.
            enough = sum(counts.values()) + chance.randrange(5, 100)
            while sum(counts.values()) < enough:
                assert [one.poll() for one in writers] == [None] * 3, writers[0].communicate()
                for name, seen in counts.items():
                    now = cache.get(name, 0)
                    assert now >= seen
                    counts[name] = now
            victim = chance.randrange(3)
            writers[victim].kill()
            writers[victim].wait()
            for key in range(KEYS):
                found = cache.get(f"key {key}")
                assert found is None or whole(found)
            writers[victim] = start(str(number))
        for one in writers:
            one.kill()
            one.wait()
    # No lock is left, no place among the readers, no entry without its place in the order.
    store = cache._store
    assert isinstance(store, Embedded)
    cache.set("after", 1)
    for part in store._parts:
        part._opened().reader_check()
        assert str(os.getpid()) in part._opened().readers()
        assert len(part._opened().readers().splitlines()) <= 2
    for number in range(5):
        claim = store.claim(b"computed %d" % number)
        assert claim.acquire()
        claim.release()
    orders, entries = counted(store)
    assert orders == entries > 0


def counted(store: Embedded) -> tuple[int, int]:
    """How many places in the order there are, all of them right, and how many entries."""
    orders = entries = 0
    for part in store._parts:
        with part._opened().begin() as txn:
            for key, value in txn.cursor():
                if key[:1] == b"\xff":
                    orders += 1
                    record = txn.get(value)
                    assert record
                    assert record[8:16] == key[1:]
                else:
                    entries += 1
    return orders, entries


def bytes_of(folder: Path) -> int:
    """What the files of all parts have."""
    return sum(file.stat().st_size for file in folder.glob("*/data.mdb"))


@pytest.mark.parametrize("kind", ["memory", "embedded"])
def test_what_was_set_longest_ago_goes_first(kind: str, folder: Path) -> None:
    store: Store = Memory(SIZE) if kind == "memory" else Embedded(folder, SIZE)
    for number in range(20_000):
        store.set(b"%d" % number, b"x" * 1000, None)
        if number % 50 == 0:
            store.set(b"0", b"again", None)  # never the oldest
    for part in range(PARTS) if kind == "embedded" else [None]:
        mine = [number for number in range(20_000) if part in (None, crc32(b"%d" % number) % PARTS)]
        there = [number for number in mine if store.get(b"%d" % number) is not None]
        kept = there[1:] if there[0] == 0 else there
        assert kept == mine[-len(kept) :]
        assert len(mine) > len(kept) > SIZE // 1000 // PARTS // 3
    assert store.get(b"0") == b"again"
    store.close()


def test_the_file_never_exceeds_its_size(cache: BlockingCache, folder: Path) -> None:
    chance = random.Random(1)
    for number in range(5000):
        cache.set(
            f"key {chance.randrange(1000)}", "x" * int(chance.paretovariate(0.5) * 50 % (SIZE // 64 - 99))
        )
        if number % 100 == 0:
            assert bytes_of(folder) <= SIZE
    cache.clear()
    assert cache.get("key 1") is None
    cache.set("key 1", "x" * (SIZE // 65))
    assert len(cache.get("key 1")) == SIZE // 65


def test_the_smallest_size_that_can_be_configured_works(folder: Path) -> None:
    chance = random.Random(3)
    store = Embedded(folder, 4 << 20)
    for number in range(10_000):
        key = b"%d" % chance.randrange(5000)
        value = b"x" * chance.choice([1, 100, 1000, 3000, 20_000, 65_536])
        store.set(key, value, None)
        assert store.get(key) == value
        assert number % 100 or bytes_of(folder) <= 4 << 20
    store.close()


def test_a_value_that_is_too_large_is_refused(cache: BlockingCache) -> None:
    cache.set("old", 1)
    with pytest.raises(ValueError, match=r"too large: at most 262144, 1/64 of the cache"):
        cache.set("key", "x" * (SIZE // 63))
    assert cache.get("old") == 1


def fill(cache: BlockingCache) -> None:
    for number in range(20_000):
        cache.set(f"{number}", "x" * 1000)


def test_a_reader_that_was_killed_does_not_fill_the_store(cache: BlockingCache, folder: Path) -> None:
    cache.set("key", 1)
    with process(folder, "hold-a-read") as reader:
        assert said(reader) == "reading"
        reader.kill()
        reader.wait()
    fill(cache)


def test_a_reader_that_stands_still_is_named(cache: BlockingCache, folder: Path) -> None:
    cache.set("key", 1)
    with process(folder, "hold-a-read") as reader:
        assert said(reader) == "reading"
        with pytest.raises(CacheError, match=rf"process {reader.pid} stands still"):
            fill(cache)
        assert cache.get("key") in (None, 1)
        reader.kill()
        reader.wait()
    fill(cache)  # and then all is well again


def test_a_writer_that_stands_still_holds_up_no_reader_and_no_writer_for_ever(
    cache: BlockingCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("key", "before")
    with process(folder, "hold-a-write") as writer:
        assert said(writer) == "writing"
        with monkeypatch.context() as patch:
            patch.setattr(writing, "PATIENCE", 0.1)
            with pytest.raises(
                CacheError, match=r"not be written to for 0\.1 s: a process stands still in the middle"
            ):
                cache.set("key", "too early")
        # One thread waits to write; the others read.
        waiting = threading.Thread(target=cache.set, args=("key", "after"))
        waiting.start()
        assert cache.get("key") == "before"
        assert waiting.is_alive()
        writer.kill()
        waiting.join()
    assert cache.get("key") == "after"


def test_a_read_makes_no_system_call(cache: BlockingCache, folder: Path, other: str) -> None:
    cache.set("key", 4711)
    with process(folder, "read-in-silence", python=other) as reader:
        assert reader.communicate(timeout=60) == ("0 4711\n", "")
        assert reader.returncode == -signal.SIGSYS


def test_one_process_computes_and_the_others_wait(folder: Path, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(process(folder, "compute", str(tmp_path))) for _ in range(6)]
        answers = {one.communicate(timeout=60)[0] for one in asking}
    assert len(answers) == 1
    assert len(list(tmp_path.glob("computed by *"))) == 1


def test_a_worker_that_dies_while_it_computes_frees_the_others(cache: BlockingCache, folder: Path) -> None:
    with process(folder, "compute-for-ever") as computing:
        assert said(computing) == "computing"
        with pytest.raises(TimeoutError, match="another worker has computed 'answer'"):
            cache.get_or_compute("answer", lambda: 1, timeout=0.05)
        computing.kill()
        assert cache.get_or_compute("answer", lambda: 2) == 2


def test_a_child_of_a_fork_has_its_own(cache: BlockingCache) -> None:
    cache.set("key", "parent")
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            cache.set("child", cache.get("key"))
            status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.get("child") == "parent"


def test_forks_while_other_threads_use_the_cache(cache: BlockingCache) -> None:
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            cache.incr("count")
            assert cache.get("count")

    with ThreadPoolExecutor(2) as threads:
        working = [threads.submit(work) for _ in range(2)]
        for number in range(30):
            child = os.fork()
            if not child:
                status = 1
                with contextlib.suppress(BaseException):
                    cache.set(f"child {number}", cache.get("count", 0))
                    status = 0
                os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ended.set()
        for one in working:
            one.result()
    assert all(cache.get(f"child {number}") is not None for number in range(30))


@pytest.mark.parametrize("size", [SIZE // 4, SIZE * 4])
def test_the_size_can_change_while_workers_run(cache: BlockingCache, folder: Path, size: int) -> None:
    fill(cache)
    with process(folder, "count", "10", size=size) as other:
        assert other.wait(60) == 1  # "by cas" is not there: it has read and written
    with process(folder, "write", "other", size=size) as other:
        while cache.get("count other", 0) < 500:
            assert other.poll() is None, other.communicate()
    fill(cache)
    assert cache.get("19999") == "x" * 1000


def test_a_smaller_size_or_foreign_files_begin_anew_when_nobody_else_has_them(folder: Path) -> None:
    large = Embedded(folder, SIZE)
    fill(BlockingCache(lambda: large))
    with process(folder, "count", "10", size=SIZE // 4) as other:
        assert other.wait(60) == 1  # it has read and written
    assert bytes_of(folder) > SIZE // 2  # and let what another has open alone
    large.close()
    small = Embedded(folder, SIZE // 4)
    assert bytes_of(folder) < SIZE // 4
    assert small.get(b"19999") is None
    fill(BlockingCache(lambda: small))
    assert bytes_of(folder) <= SIZE // 4

    small.close()
    for file in folder.glob("*/data.mdb"):
        file.write_bytes(b"what another program wrote" * 400)
    with process(folder, "write", "on") as other:
        counted = Embedded(folder, SIZE)
        while not counted.get(b"count on"):
            assert other.poll() is None, other.communicate()
        counted.close()


def test_only_its_owner_can_read_the_store(cache: BlockingCache, folder: Path) -> None:
    cache.set("key", 1)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.rglob("*"))


def test_a_lock_is_one_s_alone_and_names_do_not_disturb_each_other(tmp_path: Path) -> None:
    first, second, other = (HostClaim(tmp_path / "locks", name) for name in (b"a", b"a", b"b"))
    assert first.acquire()
    assert not second.acquire()
    assert other.acquire()
    first.release()
    assert second.acquire()
    for lock in (first, second, other):
        lock.release()


def test_threads_that_fork_at_once_leave_the_cache_usable(folder: Path) -> None:
    """In a process with a deadline: what holds the cache up would hold up its end as well."""
    program = """
import os, sys, threading
from pathlib import Path
from svc.cluster.caching import BlockingCache
from svc.cluster.caching.embedded import Embedded
store = Embedded(Path(sys.argv[1]), 8 << 20)
cache = BlockingCache(lambda: store)
sys.setswitchinterval(1e-5)

def fork():
    for number in range(300):
        cache.set(f"{number}", number)
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

threads = [threading.Thread(target=fork) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(cache.get(f"{number}") for number in range(300)))
"""
    with subprocess.Popen(
        [sys.executable, "-B", "-c", program, str(folder)],
        cwd=SCRIPT.parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            printed, complained = running.communicate(timeout=60)
        finally:
            running.kill()
    assert printed == f"{sum(range(300))}\n", complained
