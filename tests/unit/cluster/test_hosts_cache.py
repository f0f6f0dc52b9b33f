"""The cache on a server that several hosts share, one that goes away, the local cache instead."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from svc.cluster import ServerAway, ServerRefused
from svc.cluster.caching import BlockingCache
from svc.cluster.caching.memory import Memory
from svc.cluster.hosts.fallback import Fallback
from svc.cluster.hosts.server import Server
from svc.cluster.hosts.store import HostsStore
from tests.redis_server import RedisServer
from tests.unit.cluster.hosts import back


def store_of(server: Server, host: str, tmp_path: Path) -> HostsStore:
    folder = tmp_path / host
    folder.mkdir()
    return HostsStore(server, host, folder)


def cache_of(server: Server, host: str, tmp_path: Path) -> BlockingCache:
    return BlockingCache(lambda: store_of(server, host, tmp_path))


def test_two_hosts_have_one_cache_and_two_apps_do_not(
    server: Server, redis: RedisServer, tmp_path: Path
) -> None:
    one = cache_of(server, "one", tmp_path)
    two = cache_of(server, "two", tmp_path)
    one.set("users", 25)
    assert two.incr("users") == 26
    other_app = Server(redis.url, "svc:app2:")
    other = cache_of(other_app, "three", tmp_path)
    other.set("users", "other")
    two.clear()
    assert one.get("users") is None
    assert other.get("users") == "other"
    other_app.close()


def test_one_host_computes_and_the_other_waits_for_it(server: Server, tmp_path: Path) -> None:
    caches = [cache_of(server, name, tmp_path) for name in ("one", "two")]
    begun, go_on, answers = threading.Event(), threading.Event(), []

    def slow() -> str:
        begun.set()
        assert go_on.wait(30)
        return "the first's"

    def ask(number: int) -> None:
        answers.append(caches[number].get_or_compute("key", slow if number == 0 else lambda: "the other's"))

    first = threading.Thread(target=ask, args=(0,))
    first.start()
    assert begun.wait(30)
    with pytest.raises(TimeoutError, match="another worker has computed"):
        caches[1].get_or_compute("key", lambda: "too early", timeout=0.01)
    second = threading.Thread(target=ask, args=(1,))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert answers == ["the first's"] * 2


def test_a_server_that_went_away_is_an_error_at_once_and_comes_back_by_itself(
    server: Server, redis: RedisServer, tmp_path: Path
) -> None:
    cache = cache_of(server, "one", tmp_path)
    cache.set("key", 1)
    redis.stop()
    for _ in range(3):
        with pytest.raises(ServerAway, match=r"the server at unix://.*\(\[cluster\] url\) does not answer"):
            cache.get("key")
    redis.start()
    back(server)
    cache.set("key", 2)
    assert cache.get("key") == 2


def test_a_server_that_stands_still_holds_up_one_call_only(
    server: Server, redis: RedisServer, tmp_path: Path
) -> None:
    cache = cache_of(server, "one", tmp_path)
    cache.set("key", 1)
    redis.freeze()
    with pytest.raises(ServerAway):
        cache.get("key")
    assert server.away
    with pytest.raises(ServerAway):
        cache.get("key")
    redis.thaw()
    back(server)
    assert cache.get("key") == 1


def test_where_asked_the_local_cache_stands_in_and_is_forgotten_afterwards(
    server: Server, redis: RedisServer, tmp_path: Path
) -> None:
    local = Memory(1 << 20)
    store = Fallback(store_of(server, "one", tmp_path), local)
    cache = BlockingCache(lambda: store)
    cache.set("key", "shared")
    redis.stop()
    assert cache.get("key") is None
    cache.set("key", "local")
    assert cache.get("key") == "local"
    assert cache.get_or_compute("computed", lambda: 5) == 5
    redis.start()
    back(server)
    assert cache.get("key") is None
    assert local.get(b"key") is None


def test_an_error_of_the_server_is_told(server: Server, tmp_path: Path) -> None:
    cache = cache_of(server, "one", tmp_path)
    server.client.config_set("maxmemory", 1)
    with pytest.raises(ServerRefused, match="maxmemory"):
        cache.set("key", 1)


def test_a_password_is_not_for_the_url_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="right") as redis:
        for password, answers in (("right", True), ("wrong", False), (None, False)):
            server = Server(redis.url, "svc:app:", password)
            if answers:
                assert server.ask(lambda client: client.ping())
            else:
                with pytest.raises(ServerAway, match=r"lets nobody in: .*credential cluster-password"):
                    server.ask(lambda client: client.ping())
            server.close()


def test_the_library_is_imported_where_a_url_is_configured_and_missed_by_name(tmp_path: Path) -> None:
    (tmp_path / "svc" / "app").mkdir(parents=True)
    ask = "import sys\nfrom svc import cluster\nsys.modules.setdefault('redis')\n"
    ask += "try:\n cluster.cache.set('key', 1)\nexcept cluster.ClusterError as error:\n print(error)\n"
    environ = {**os.environ, "SVC_APP": "app", "RUNTIME_DIRECTORY": str(tmp_path / "svc" / "app")}
    said = []
    for url in ("", "redis://127.0.0.1"):
        done = subprocess.run(
            [sys.executable, "-B", "-c", ask],
            env={**environ, "SVC_CLUSTER_URL": url},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout)
    assert said[0] == ""
    assert said[1].startswith("[cluster] url needs the package redis (redis-py)")
    assert "pip install 'redis>=4.3'" in said[1]


def test_nothing_of_an_earlier_outage_is_served_in_the_next_one(
    server: Server, redis: RedisServer, tmp_path: Path
) -> None:
    local = Memory(1 << 20)
    store = Fallback(store_of(server, "one", tmp_path), local)
    cache = BlockingCache(lambda: store)
    cache.get("key")
    redis.stop()
    cache.set("key", "of the first outage")
    redis.start()
    back(server)
    redis.stop()  # and nothing was asked meanwhile
    with pytest.raises(ServerAway):
        server.ask(lambda client: client.ping())
    assert cache.get("key") is None
    cache.set("key", "of the second outage")
    assert cache.get("key") == "of the second outage"


def test_a_new_process_serves_what_others_have_in_this_outage_and_forgets_what_was_left(
    server: Server, redis: RedisServer, tmp_path: Path
) -> None:
    local = Memory(1 << 20)
    shared = store_of(server, "one", tmp_path)
    redis.stop()
    local.set(b"key", b"1", None)
    assert Fallback(shared, local).get(b"key") == b"1"
    redis.start()
    back(server)
    assert Fallback(shared, local).get(b"key") is None
    assert local.get(b"key") is None


def test_a_primary_that_became_a_replica_is_left_for_its_successor(
    server: Server, redis: RedisServer, tmp_path: Path
) -> None:
    cache = cache_of(server, "one", tmp_path)
    for work in (lambda: cache.set("key", 1), lambda: cache.incr("key")):
        work()
        server.client.execute_command("REPLICAOF", "127.0.0.1", "1")
        redis.socket.rename(tmp_path / "old")  # the name means another server from now on
        with RedisServer(tmp_path):
            with pytest.raises(ServerRefused, match="read only"):
                work()
            work()
            server.client.connection_pool.disconnect()
        redis.socket.unlink(missing_ok=True)
        (tmp_path / "old").rename(redis.socket)
        server.client.execute_command("REPLICAOF", "NO", "ONE")


def test_a_script_that_may_not_write_ends_the_connections_too(server: Server) -> None:
    """Older servers say it in the text of another error."""
    before = server.client.client_id()

    def refused(_client: object) -> None:
        raise ResponseError("Error running script (call to f_1): @user_script:3: -READONLY You can't write")

    with pytest.raises(ServerRefused, match="READONLY"):
        server.ask(refused)
    assert server.client.client_id() != before
