"""sticky-cookie: whoever brings the cookie meets the worker that it names, as clients with a jar see it."""

import http.cookiejar
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.system import versions
from tests.system.conftest import App
from tests.system.test_handover import Address
from tests.unit.worker.process import Client

POLICY = '[balance]\npolicy = "sticky-cookie"\n'
EVERYTHING = Path(__file__).parent.parent.joinpath("apps", "asgi_app.py").read_text()


class Browser:
    """A client with a cookie jar, and a new connection for each request."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.jar = http.cookiejar.CookieJar()
        no_proxy, cookies = urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        self._opener = urllib.request.build_opener(no_proxy, cookies)
        self.set_cookie: str | None = None

    def get(self, path: str = "/", timeout: float = 10.0) -> str:
        """The worker that answers."""
        with self._opener.open(self.app.url + path, timeout=timeout) as answer:
            self.set_cookie = answer.headers["Set-Cookie"]
            return str(answer.read().decode().split()[1])

    @property
    def cookie(self) -> str:
        """The value of the only cookie."""
        (cookie,) = self.jar
        assert cookie.name == "svc-app"
        return str(cookie.value)


def browsers(app: App, count: int = 20) -> list[Browser]:
    """So many clients, each with its cookie."""
    made = [Browser(app) for _ in range(count)]
    for browser in made:
        assert browser.get() == browser.cookie
    return made


@pytest.fixture
def sticky(app: App) -> App:
    """Four workers under this policy."""
    app.deploy(versions.good("1"))
    app.start(4, more=POLICY)
    return app


def test_the_first_answer_sets_the_cookie_and_later_ones_do_not(sticky: App) -> None:
    browser = Browser(sticky)
    worker = browser.get()
    assert browser.set_cookie == f"svc-app={worker}; Path=/; HttpOnly; SameSite=Lax"
    for _ in range(20):
        assert browser.get() == worker
        assert browser.set_cookie is None


def test_clients_are_spread_and_each_stays(sticky: App) -> None:
    clients = browsers(sticky, 40)
    spread = Counter(browser.cookie for browser in clients)
    assert sorted(spread) == ["0", "1", "2", "3"]
    for _ in range(3):
        assert [browser.get() for browser in clients] == [browser.cookie for browser in clients]
    assert Counter(browser.cookie for browser in clients) == spread


def test_clients_meet_their_worker_again_after_a_reload_and_a_restart(sticky: App) -> None:
    clients = browsers(sticky)
    homes = [browser.cookie for browser in clients]
    sticky.deploy(versions.good("2"))
    for verb in ("reload", "restart"):
        sticky.systemctl(verb, "app.target")
        assert [browser.get() for browser in clients] == homes
        assert [browser.cookie for browser in clients] == homes


def test_while_a_worker_is_away_its_clients_find_another_and_stay_there(sticky: App) -> None:
    clients = browsers(sticky)
    homes = [browser.cookie for browser in clients]
    assert "2" in homes
    sticky.systemctl("stop", "app@2.service")
    found = [browser.get() for browser in clients]
    assert "2" not in found
    assert [home for home in homes if home != "2"] == [
        other for home, other in zip(homes, found, strict=True) if home != "2"
    ]
    assert [browser.cookie for browser in clients] == found
    sticky.systemctl("start", "app@2.service")
    assert [browser.get() for browser in clients] == found


def test_a_killed_worker_costs_its_clients_nothing_but_itself(sticky: App) -> None:
    clients = browsers(sticky)
    sticky.systemctl("kill", "--signal=KILL", "app@1.service")
    for _ in range(3):
        assert [browser.get() for browser in clients] == [browser.cookie for browser in clients]


def test_a_busy_worker_keeps_its_clients(sticky: App) -> None:
    clients = browsers(sticky)
    busy = clients[0].cookie
    mine = [browser for browser in clients if browser.cookie == busy]
    sticky.systemctl("kill", "--signal=STOP", f"app@{busy}.service")
    for browser in mine:
        with pytest.raises(TimeoutError):
            browser.get(timeout=1)
    for browser in clients:
        if browser not in mine:
            assert browser.get() == browser.cookie
    sticky.systemctl("kill", "--signal=CONT", f"app@{busy}.service")
    assert [browser.get() for browser in clients] == [browser.cookie for browser in clients]


def raw(app: App) -> Client:
    """A client that says exactly what it sends."""
    with Address(app.port) as address:
        return Client(address)


def worker(answer: tuple[int, dict[str, str], bytes]) -> str:
    """The worker of an answer, which is a good one."""
    assert answer[0] == 200
    return answer[2].decode().split()[1]


@pytest.mark.parametrize("slot", ["0", "1", "2", "3"])
def test_a_head_that_comes_in_pieces_finds_its_worker(sticky: App, slot: str) -> None:
    with raw(sticky) as client:
        fields = ["Host: a", f"X: {'x' * 3000}", f"Cookie: a=b; svc-app={slot}; c=d"]
        head = "\r\n".join(["GET / HTTP/1.1", *fields, "", ""]).encode()
        for piece in (head[:1], head[1:20], head[20:2000], head[2000:-1], head[-1:]):
            client.send(piece)
        assert worker(client.answer()) == slot
        # It is one connection of one client: what follows needs no cookie to stay.
        assert worker(client.get()) == slot


def test_an_upload_is_handed_over_whole(app: App) -> None:
    app.deploy(EVERYTHING)
    app.start(2, more=POLICY)
    for slot in ("0", "1"):
        for _ in range(4):
            with raw(app) as client:
                body = b"x" * 3_000_000
                client.ask("/upload", "POST", body, [f"Cookie: svc-app={slot}"])
                status, headers, answer = client.answer()
                assert (status, answer) == (200, b"3000000 bytes\n")
                assert "set-cookie" not in headers


@pytest.mark.parametrize("value", ["", "9", "-1", "surge", "01", "x" * 5000, "1 2", '"1"'])
def test_a_cookie_that_names_no_worker_is_set_anew(sticky: App, value: str) -> None:
    with raw(sticky) as client:
        client.ask(headers=[f"Cookie: svc-app={value}"])
        answer = client.answer()
        assert answer[1]["set-cookie"].startswith(f"svc-app={worker(answer)};")


def test_a_head_of_any_length_is_answered(sticky: App) -> None:
    with raw(sticky) as client:
        client.ask(headers=[f"X-{number}: {'x' * 1000}" for number in range(40)])
        assert client.head()[0] in (200, 400, 431)


def test_silent_and_slow_clients_keep_nobody_waiting(sticky: App) -> None:
    silent = [raw(sticky) for _ in range(50)]
    slow = [raw(sticky) for _ in range(50)]
    for client in slow:
        client.send(b"GET / HTTP/1.1\r\nHo")
    assert len({browser.cookie for browser in browsers(sticky)}) == 4
    for client in slow:
        client.send(b"st: a\r\n\r\n")
        assert client.answer()[0] == 200
        client.sock.close()
    for client in silent:
        assert client.get()[0] == 200
        client.sock.close()


def test_silent_clients_outlive_a_reload(sticky: App) -> None:
    silent = [raw(sticky) for _ in range(50)]
    sticky.systemctl("reload", "app.target")
    for client in silent:
        assert client.get()[0] == 200
        client.sock.close()


def test_a_connection_of_several_clients_is_closed_after_a_strangers_request(sticky: App) -> None:
    with raw(sticky) as proxy:
        proxy.ask(headers=["Cookie: svc-app=1"])
        assert worker(proxy.answer()) == "1"
        proxy.ask(headers=["Cookie: svc-app=2"])
        answer = proxy.answer()
        assert worker(answer) == "1"  # what is documented: the connection was there first
        assert answer[1]["connection"] == "close"
        assert "set-cookie" not in answer[1]
        assert proxy.rest() == b""


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh", "keep-alive"])
@pytest.mark.parametrize("cookie", ["", "svc-app=1"], ids=["no cookie", "one worker's clients"])
def test_no_request_fails_on_a_reload(sticky: App, keep_alive: bool, cookie: str) -> None:
    sticky.reload_twice(300, keep_alive=keep_alive, headers={"Cookie": cookie} if cookie else {})


def test_a_wsgi_application_sets_it_too(app: App) -> None:
    app.deploy(versions.WSGI)
    app.start(2, more=POLICY)
    with raw(app) as client:
        status, headers, _ = client.get()
        assert status == 200
        assert headers["set-cookie"] in {
            f"svc-app={slot}; Path=/; HttpOnly; SameSite=Lax" for slot in ("0", "1")
        }
