"""One cluster on two hosts: an app on a real systemd, and a worker elsewhere, with a server between them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.ports import free_port
from tests.redis_server import RedisServer, Tls
from tests.system.conftest import App
from tests.unit.cluster.hosts import Worker, again, until

PASSWORD = "correct horse"
AUTHORITY = "/etc/app/authority.pem"
MESSAGES = 60

TALKER = """
import os
from svc import cluster

@cluster.on_message
def take(message):
    print("got", message.data, "by", cluster.worker.slot, "from", message.sender, flush=True)

@cluster.every(0.1)
async def job():
    print("job here", flush=True)

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/set":
        cluster.cache.set("key", "of the app")
        said = "set"
    elif scope["path"] == "/broadcast":
        await cluster.broadcast("of the app")
        said = "sent"
    else:
        try:
            said = repr(cluster.cache.get("key"))
        except cluster.ServerAway as error:
            said = f"away: {error}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": said.encode()})
"""


@pytest.fixture
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> Tls | None:
    """Nothing, except in a test that asks for it."""
    if not getattr(request, "param", False):
        return None
    authority = Authority(tmp_path / "tls")
    return Tls(authority, authority.certify("server", "IP:127.0.0.1"))


@pytest.fixture
def redis(tmp_path: Path, tls: Tls | None) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, port=free_port(), password=PASSWORD, tls=tls) as server:
        yield server


@pytest.fixture
def elsewhere(redis: RedisServer, tmp_path: Path) -> Iterator[Worker]:
    """A worker of the same app on another host."""
    (tmp_path / "svc" / "app").mkdir(parents=True)
    (tmp_path / "cluster-password").write_text(f"{PASSWORD}\n")
    worker = Worker(tmp_path, 0, 1, redis.url, CREDENTIALS_DIRECTORY=str(tmp_path))
    yield worker
    worker.close()


@pytest.fixture
def here(app: App, redis: RedisServer, tls: Tls | None) -> App:
    """Two workers, who have the password as a credential; their host begins anew."""
    app.machine.run("rm", "-rf", "/run/private/svc/app/relay", "/run/svc/app/relay")
    app.machine.write("/etc/app/password", f"{PASSWORD}\n", mode=0o600)
    app.deploy(TALKER)
    url = redis.url
    if tls is not None:
        url = url.replace(str(tls.authority.certificate), AUTHORITY)
        app.machine.write(AUTHORITY, tls.authority.certificate.read_text())
    cluster = f'[cluster]\nurl = "{url}"\n[credentials]\ncluster-password = "/etc/app/password"\n'
    app.start(workers=2, more=cluster)
    return app


def got(app: App, slot: int) -> list[str]:
    """What a worker got from the other host, in its order."""
    return re.findall(rf"got (\d+) by {slot} from None", app.machine.journal(output="cat"))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"], indirect=True)
def test_hosts_share_cache_and_broadcasts_and_the_password_stays_secret(here: App, elsewhere: Worker) -> None:
    assert here.get("/set") == "set"
    assert elsewhere.do("get") == "done get of the app"
    assert here.get("/broadcast") == "sent"
    assert elsewhere.wait("got") == "got of the app None"
    assert PASSWORD not in here.systemctl("show", "app@0.service").stdout
    assert here.machine.run("svcctl", "check", "app").returncode == 0


def test_broadcasts_of_another_host_come_once_and_in_order_through_a_reload(
    here: App, elsewhere: Worker
) -> None:
    while not got(here, 1):  # until somebody there takes what comes from here
        again(elsewhere, "broadcast 0")
    for number in range(1, MESSAGES + 1):
        if number == MESSAGES // 3:
            here.systemctl("--no-block", "reload", "app.target")
        if number == 2 * MESSAGES // 3:
            here.systemctl("reload", "app.target")  # after the one that runs
        assert elsewhere.do(f"broadcast {number}") == "done broadcast"
    wanted = [str(number) for number in range(1, MESSAGES + 1)]
    for slot in range(2):
        here.machine.wait_journal(f"got {MESSAGES} by {slot} from None")
        assert [number for number in got(here, slot) if number != "0"] == wanted


def test_a_server_that_goes_away_is_told_and_the_job_goes_on_when_it_is_back(
    here: App, redis: RedisServer
) -> None:
    here.machine.wait_journal("job here")
    redis.stop()
    assert here.get("/").startswith("away: the server at redis://127.0.0.1:")
    since = here.machine.cursor()
    redis.start()
    here.machine.wait_journal("job here", since=since)
    until(lambda: here.get("/") == "None")
