"""The calls of the cache in one process: one computes, the others wait, whoever fails or leaves."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from svc import cluster
from svc.cluster import blocking
from svc.cluster.caching import BlockingCache, Cache
from svc.cluster.caching.choose import chosen
from svc.cluster.caching.embedded import Embedded
from svc.cluster.caching.memory import Memory
from svc.cluster.caching.store import Store
from svc.cluster.errors import CacheError
from svc.cluster.hosts.server import Server
from svc.cluster.hosts.store import HostsStore
from tests.redis_server import RedisServer

Make = Callable[[Path], Store]
STORES = [
    pytest.param(lambda _: Memory(4 << 20), id="memory"),
    pytest.param(lambda folder: Embedded(folder / "cache", 4 << 20), id="embedded"),
]


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=[*STORES, "hosts"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "hosts":
        server = Server(request.getfixturevalue("redis").url, f"svc:{tmp_path.name}:")
        yield HostsStore(server, "host", tmp_path)
        server.close()
        return
    opened: Store = request.param(tmp_path)

    yield opened
    opened.close()


def test_outside_svc_both_forms_share_the_memory_of_the_process() -> None:
    cluster.cache.set("users", 25, ttl=10)
    assert blocking.cache.get("users") == 25
    assert blocking.cache.incr("users") == 26
    assert asyncio.run(cluster.cache.get_or_compute("users", lambda: 0)) == 26
    blocking.cache.clear()
    assert cluster.cache.get("users", "none") == "none"


def test_tasks_of_a_worker_compute_once(store: Store) -> None:
    calls = []

    async def compute() -> list[int]:
        calls.append(1)
        await asyncio.sleep(0)
        return [len(calls)]

    async def ask() -> list[list[int]]:
        cache = Cache(lambda: store)
        return await asyncio.gather(*(cache.get_or_compute("key", compute) for _ in range(50)))

    assert asyncio.run(ask()) == [[1]] * 50


def test_both_forms_wait_for_each_other(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go_on.wait(30)
        return "the thread's"

    thread = threading.Thread(target=BlockingCache(lambda: store).get_or_compute, args=("key", slow))
    thread.start()
    assert begun.wait(30)

    async def ask() -> str:
        cache = Cache(lambda: store)
        with pytest.raises(TimeoutError, match="another worker has computed 'key' for more than"):
            await cache.get_or_compute("key", lambda: "too early", timeout=0.01)
        waiting = asyncio.create_task(cache.get_or_compute("key", lambda: "the task's"))
        await asyncio.sleep(0)
        go_on.set()
        return await waiting

    assert asyncio.run(ask()) == "the thread's"
    thread.join()


def test_what_fails_goes_to_its_caller_and_the_next_one_tries(store: Store) -> None:
    answers = iter(["no", "no", "yes"])

    async def compute() -> str:
        await asyncio.sleep(0)
        answer = next(answers)
        if answer == "no":
            raise OSError(answer)
        return answer

    async def ask() -> list[object]:
        cache = Cache(lambda: store)
        asking = (cache.get_or_compute("key", compute) for _ in range(5))
        return await asyncio.gather(*asking, return_exceptions=True)

    assert [str(one) for one in asyncio.run(ask())] == ["no", "no", "yes", "yes", "yes"]


def test_a_task_that_is_cancelled_leaves_the_work_to_the_next(store: Store) -> None:
    async def ask() -> str:
        cache = Cache(lambda: store)
        begun = asyncio.Event()

        async def endless() -> str:
            begun.set()
            await asyncio.get_running_loop().create_future()
            return "never"

        first = asyncio.create_task(cache.get_or_compute("key", endless))
        await begun.wait()
        second = asyncio.create_task(cache.get_or_compute("key", lambda: "second"))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(ask()) == "second"


def test_who_computes_sees_what_the_others_see(store: Store) -> None:
    cache = BlockingCache(lambda: store)
    value: Any = {1: (2, 3)}
    assert cache.get_or_compute("key", lambda: value) == {"1": [2, 3]}
    assert cache.get("key") == {"1": [2, 3]}


def test_what_lives_for_no_time_is_computed_by_each(store: Store) -> None:
    cache = BlockingCache(lambda: store)
    numbers = iter(range(9))
    assert [cache.get_or_compute("key", partial(next, numbers), ttl=0) for _ in range(2)] == [0, 1]


def test_a_worker_has_the_store_of_its_app(tmp_path: Path) -> None:
    folder = tmp_path / "svc" / "app"
    environ = {"SVC_APP": "app", "RUNTIME_DIRECTORY": f"/run/other:{folder}", "SVC_CACHE_SIZE": "4194304"}
    store = chosen(environ)
    assert isinstance(store, Embedded)
    assert (store.folder, store.size) == (folder / "cache", 4 << 20)
    store.close()
    with pytest.raises(CacheError, match="no folder svc/app in RUNTIME_DIRECTORY"):
        chosen({"SVC_APP": "app"})


def test_an_interpreter_without_lmdb_is_told_its_name(tmp_path: Path) -> None:
    (tmp_path / "svc" / "app").mkdir(parents=True)
    script = (
        "import sys; sys.modules['lmdb'] = None\n"
        "from svc import cluster\n"
        "print('imported without it', flush=True)\n"
        "cluster.cache.get('key')"
    )
    environ = {"SVC_APP": "app", "RUNTIME_DIRECTORY": f"{tmp_path}/svc/app"}
    tree = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-B", "-c", script],
        env=environ,
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "imported without it\n"
    assert done.stderr.splitlines()[-1] == (
        "svc.cluster.errors.CacheError: the cache that workers share needs the package lmdb in the "
        f"application's interpreter: `{sys.executable} -m pip install lmdb`, or python3-lmdb of Debian for "
        "/usr/bin/python3"
    )


def test_a_folder_that_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path) -> None:
    inside = tmp_path / "cache" / "1"
    inside.parent.mkdir()
    inside.write_text("in its place")
    with pytest.raises(CacheError, match=rf"the cache in {inside} cannot be used: .*File exists"):
        Embedded(tmp_path / "cache", 4 << 20)
    inside.unlink()
    Embedded(tmp_path / "cache", 4 << 20).close()


def test_a_number_of_another_type_is_stored_and_counted_on_or_refused(tmp_path: Path) -> None:
    """In a process with a deadline: a range looks for such a number by going through all of its own."""
    program = """
import http, sys
from pathlib import Path
from svc.cluster.caching import BlockingCache
from svc.cluster.caching.embedded import Embedded
from svc.cluster.caching.memory import Memory
for store in (Memory(4 << 20), Embedded(Path(sys.argv[1]), 4 << 20)):
    cache = BlockingCache(lambda: store)
    cache.set("key", http.HTTPStatus.OK)
    assert cache.incr("key", http.HTTPStatus.CREATED) == 401
    try:
        cache.incr("key", 1.5)
    except TypeError:
        print("refused")
"""
    command = [sys.executable, "-B", "-c", program, str(tmp_path / "cache")]
    tree = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "refused\n" * 2
