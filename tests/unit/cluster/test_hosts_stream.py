"""Where a host goes on in the stream of broadcasts, and what the stream keeps."""

import queue
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from svc.cluster import QueueFull, ServerAway
from svc.cluster.bus import values
from svc.cluster.hosts import stream
from svc.cluster.hosts.server import Server
from svc.cluster.hosts.stream import Publisher, Relay
from svc.cluster.slots import Slot
from tests.redis_server import RedisServer
from tests.unit.cluster.hosts import PATIENCE, back, until


class Post:
    """Keeps what is passed on to the workers of the host."""

    def __init__(self) -> None:
        self.got: queue.Queue[Any] = queue.Queue()
        self.full: list[Slot] = []  # as told by the next call
        self.hopeless: list[Collection[Slot]] = []  # of each call

    def broadcast_encoded(
        self, kind: int, value: bytes, include_self: bool, timeout: float, hopeless: Collection[Slot] = ()
    ) -> None:
        assert include_self
        assert timeout > 0
        self.hopeless.append(hopeless)
        self.got.put(values.decode(kind, value))
        if self.full:
            raise QueueFull(self.full)

    def close(self) -> None:
        pass

    def of(self, _header: bytes) -> Any:
        return self

    def next(self) -> Any:
        return self.got.get(timeout=PATIENCE)


@pytest.fixture
def remote(server: Server) -> Iterator[Publisher]:
    """Another host's."""
    found = Publisher(server, "other")
    yield found
    found.close()


def place(folder: Path) -> bytes:
    path = folder / "relay"
    return path.read_bytes().strip() if path.exists() else b""


@pytest.fixture
def relays(server: Server, tmp_path: Path) -> Iterator[Any]:
    """Start a relay of the host "one", and return what it passes on; when it begins again, the same."""
    started: list[Relay] = []

    def start() -> Post:
        for relay in started:
            relay.close()
        post: Any = Post()
        relay = Relay(server, "one", tmp_path, lambda _: post)
        started.append(relay)
        relay.start()
        return post  # type: ignore[no-any-return]

    yield start
    for relay in started:
        relay.close()


def test_a_new_host_gets_what_comes_from_then_on_and_not_its_own(
    server: Server, remote: Publisher, relays: Any, tmp_path: Path
) -> None:
    remote.publish("before it came").result(PATIENCE)
    post = relays()
    until(partial(place, tmp_path))
    own = Publisher(server, "one")
    own.publish("its own").result(PATIENCE)
    own.close()
    for value in ("text", b"\0bytes", {"a": [1, b"x"]}, "x" * 200_000):
        remote.publish(value).result(PATIENCE)
        assert post.next() == value
    assert post.got.empty()


def test_it_goes_on_where_it_was_but_not_with_what_is_too_old(
    remote: Publisher, relays: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "relay").write_bytes(b"1-0")
    remote.publish("while it was away").result(PATIENCE)
    assert relays().next() == "while it was away"
    (tmp_path / "relay").write_bytes(b"1-0".ljust(64))
    monkeypatch.setattr(stream, "KEPT_SECONDS", -5.0)
    post = relays()
    until(lambda: place(tmp_path) != b"1-0")
    assert int(place(tmp_path).split(b"-")[0]) > 1
    assert post.got.empty()


def test_a_host_beyond_the_end_begins_with_the_end(remote: Publisher, relays: Any, tmp_path: Path) -> None:
    far = b"9999999999999-0"
    (tmp_path / "relay").write_bytes(far.ljust(64))
    remote.publish("of a server with a clock behind").result(PATIENCE)
    post = relays()
    until(lambda: place(tmp_path) != far)
    remote.publish("new").result(PATIENCE)
    assert post.next() == "new"


def test_after_an_outage_it_goes_on_also_on_a_server_that_has_forgotten_all(
    redis: RedisServer, server: Server, remote: Publisher, relays: Any, tmp_path: Path
) -> None:
    post = relays()
    until(partial(place, tmp_path))
    redis.stop()
    with pytest.raises(ServerAway):
        remote.publish("lost").result(PATIENCE)
    redis.start()
    back(server)
    remote.publish("new").result(PATIENCE)
    assert post.next() == "new"


def test_what_a_frozen_server_took_is_there_when_it_goes_on(
    redis: RedisServer, server: Server, remote: Publisher, relays: Any, tmp_path: Path
) -> None:
    post = relays()
    until(partial(place, tmp_path))
    redis.freeze()
    with pytest.raises(ServerAway):
        remote.publish("taken in the end").result(PATIENCE)
    redis.thaw()
    back(server)
    remote.publish("and this").result(PATIENCE)
    got = [post.next()]
    if got == ["taken in the end"]:
        got.append(post.next())
    assert got[-1] == "and this"


def test_the_stream_forgets_what_is_old_and_ends_with_the_last_app(
    server: Server, remote: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEPT", 100)
    for number in range(500):
        remote.publish(number)
    remote.publish("last").result(PATIENCE)
    assert server.client.xlen("svc:app:bus") < 300
    assert 0 < server.client.pttl("svc:app:bus") <= 120_000
    monkeypatch.setattr(stream, "KEPT_SECONDS", -10.0)  # all is too old, and so is the stream
    remote.publish("too old").result(PATIENCE)
    assert server.client.exists("svc:app:bus") == 0


def test_one_worker_of_a_host_passes_on_and_the_next_goes_on(
    server: Server, remote: Publisher, tmp_path: Path
) -> None:
    posts: list[Any] = [Post(), Post()]
    first, second = (Relay(server, "one", tmp_path, partial(Post.of, post)) for post in posts)
    first.start()
    until(partial(place, tmp_path))
    second.start()
    remote.publish(1).result(PATIENCE)
    assert posts[0].next() == 1
    first.close()
    remote.publish(2).result(PATIENCE)
    assert posts[1].next() == 2
    second.close()
    assert posts[0].got.empty()
    assert posts[1].got.empty()


def test_a_worker_that_was_waited_for_in_vain_is_not_waited_for_again(
    remote: Publisher, relays: Any, tmp_path: Path
) -> None:
    post = relays()
    until(partial(place, tmp_path))
    for number, full in enumerate([[1], [1], [], []]):
        post.full = full
        remote.publish(number).result(PATIENCE)
        assert post.next() == number
    assert post.hopeless == [(), (1,), (1,), ()]
