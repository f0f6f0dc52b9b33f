"""Two hosts by way of a server with TLS: who may be trusted, and what is said where nobody may."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from svc.cluster import ServerAway, ServerRefused
from svc.cluster.hosts.server import Server
from tests.certificates import Authority, Certificate
from tests.ports import free_port
from tests.redis_server import RedisServer, Tls
from tests.unit.cluster.hosts import Worker, again, back, relayed

PASSWORD = "correct horse"
Start = Callable[..., Worker]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Certificate:
    """Of 127.0.0.1, and of no other host."""
    return authority.certify("server", "IP:127.0.0.1")


@pytest.fixture
def redis(tmp_path: Path, authority: Authority, certificate: Certificate) -> Iterator[RedisServer]:
    tls = Tls(authority, certificate)
    with RedisServer(tmp_path, port=free_port(), password=PASSWORD, tls=tls) as server:
        yield server


@pytest.fixture
def start(redis: RedisServer, tmp_path: Path, other: str) -> Iterator[Start]:
    """Start the one worker of a host, with the password; `other` is an interpreter."""
    (tmp_path / "cluster-password").write_text(f"{PASSWORD}\n")
    with ExitStack() as closing:

        def begin(host: str, url: str = redis.url) -> Worker:
            (tmp_path / host / "svc" / "app").mkdir(parents=True)
            worker = Worker(tmp_path / host, 0, 1, url, other, CREDENTIALS_DIRECTORY=str(tmp_path))
            closing.callback(worker.close)
            return worker

        yield begin


@pytest.fixture
def ask() -> Iterator[Callable[[str], bool]]:
    """Ask the server at a url whether it is there."""
    with ExitStack() as closing:

        def begin(url: str, password: str | None = PASSWORD) -> bool:
            server = Server(url, "svc:app:", password)
            closing.callback(server.close)
            return bool(server.ask(lambda client: client.ping()))

        yield begin


def test_cache_lock_and_broadcast_of_two_hosts_go_by_way_of_it(start: Start, tmp_path: Path) -> None:
    a, b = start("a"), start("b")
    assert a.do("set shared") == "done set"
    assert b.do("get") == "done get shared"
    assert a.do("lock it").startswith("done lock")
    b.tell("lock it")
    assert a.do("unlock") == "done unlock"
    assert b.line().startswith("done lock")
    relayed(tmp_path)
    assert a.do("broadcast far") == "done broadcast"
    assert b.wait("got") == "got far None"


def test_it_may_go_away_and_come_back(start: Start, redis: RedisServer, tmp_path: Path) -> None:
    a, b = start("a"), start("b")
    assert a.do("set x") == "done set"
    relayed(tmp_path)
    redis.stop()
    assert a.do("get").startswith("ServerAway the server at rediss://")
    redis.start()
    again(a, "broadcast far")
    assert b.wait("got") == "got far None"
    again(b, "set y")
    assert a.do("get") == "done get y"


def test_a_host_that_the_certificate_does_not_name_is_refused(start: Start, redis: RedisServer) -> None:
    said = start("a", redis.url.replace("127.0.0.1", "localhost")).do("get")
    assert said.startswith("ServerAway the server at rediss://localhost:")
    assert "is refused: its certificate is of another host" in said
    assert "localhost" in said.partition("certificate")[2]
    assert said.endswith("write a name that it has into the url")


def test_a_certificate_of_a_foreign_authority_is_refused(
    start: Start, redis: RedisServer, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path / "foreign").certificate
    without, _, _ = redis.url.partition("?")
    for host, url in (("a", f"{without}?ssl_ca_certs={foreign}"), ("b", without)):
        said = start(host, url).do("set secret")
        assert said.startswith("ServerAway the server at rediss://")
        assert "is refused: its certificate is not trusted (" in said
        assert said.endswith("name the file that has the authority's certificate, ?ssl_ca_certs=/PATH")


def test_a_file_that_cannot_be_read_is_named(start: Start, redis: RedisServer, tmp_path: Path) -> None:
    without, _, _ = redis.url.partition("?")
    said = start("a", f"{without}?ssl_ca_certs={tmp_path}/none.pem").do("get")
    assert f"cannot be asked: ssl_ca_certs={tmp_path}/none.pem: No such file or directory; " in said


def test_the_password_is_asked_for_over_tls_too(redis: RedisServer, ask: Callable[..., bool]) -> None:
    assert ask(redis.url)
    for wrong in ("wrong", None):
        with pytest.raises((ServerAway, ServerRefused), match=r"(?i)password|auth"):
            ask(redis.url, wrong)


def test_a_server_that_wants_a_certificate_of_its_clients_gets_it(
    tmp_path: Path, authority: Authority, certificate: Certificate, ask: Callable[..., bool]
) -> None:
    folder = tmp_path / "strict"
    folder.mkdir()
    own = authority.certify("client")
    with RedisServer(folder, port=free_port(), tls=Tls(authority, certificate, of_clients=True)) as redis:
        with pytest.raises(ServerAway):
            ask(redis.url, None)
        assert ask(f"{redis.url}&ssl_certfile={own.certificate}&ssl_keyfile={own.key}", None)


def test_a_server_that_stands_still_holds_nobody_up(redis: RedisServer) -> None:
    server = Server(redis.url, "svc:app:", PASSWORD)
    redis.freeze()
    with pytest.raises(ServerAway, match="does not answer"):
        server.ask(lambda client: client.ping())
    redis.thaw()
    back(server)
    assert server.ask(lambda client: client.ping())
    server.close()
