"""Clients that everybody uses, each judged by what it reports itself. See `tests.system.visitors`."""

import asyncio
import itertools
import subprocess
from collections.abc import Iterator

import aiohttp
import httpx
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.system.visitors import Site

BODY = b"x" * 3000
RECEIVED = f"{len(BODY)} bytes"  # what the app says about it
SERVICE_RESTART = 1012  # IANA's WebSocket close code registry

# The tools: a run is a visit.


def _run(*argv: str) -> str:
    """What a tool says; it must end well."""
    ran = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, f"`{' '.join(argv)}` ended with {ran.returncode}:\n{ran.stdout}"
    return ran.stdout


def _ab(site: Site, *options: str) -> Iterator[None]:
    # -l: the answers of workers differ in length.
    command = ["ab", "-q", "-l", *options, "-c10", "-n1000", f"{site.url}/"]
    while True:
        report = _run(*command)
        assert "Complete requests:      1000\n" in report, report
        assert "Failed requests:        0\n" in report, report
        assert "Non-2xx" not in report, report
        yield


def ab(site: Site) -> Iterator[None]:
    """A connection for each request."""
    return _ab(site)


def ab_keep_alive(site: Site) -> Iterator[None]:
    """HTTP/1.0 with Connection: Keep-Alive."""
    return _ab(site, "-k")


def wrk(site: Site) -> Iterator[None]:
    """Keep-alive; names socket errors and other statuses only when there are some."""
    while True:
        report = _run("wrk", "-t1", "-c10", "-d1", f"{site.url}/")
        assert "requests in" in report, report
        assert "Socket errors" not in report, report
        assert "Non-2xx" not in report, report
        yield


def h2load(site: Site) -> Iterator[None]:
    """Keep-alive, HTTP/1.1."""
    while True:
        report = _run("h2load", "--h1", "-t1", "-c10", "-n1000", f"{site.url}/")
        assert "1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout\n" in report, report
        assert "status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx\n" in report, report
        yield


def curl(site: Site) -> Iterator[None]:
    """A process and a connection for each request."""
    while True:
        assert "process" in _run("curl", "--silent", "--show-error", "--fail", f"{site.url}/")
        yield


def curl_keep_alive(site: Site) -> Iterator[None]:
    """Many URLs on one connection. It would try again silently, so it tells how often it connected."""
    command = ["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null"]
    while True:
        said = _run(*command, "--write-out", "%{http_code} %{num_connects}\n", f"{site.url}/?[1-200]")
        assert said == "200 1\n" + "200 0\n" * 199, said
        yield


TOOLS = {"ab": ab, "ab -k": ab_keep_alive, "wrk": wrk, "h2load": h2load}

# The libraries: a request of each method is a visit, and one connection is enough for all. A POST is not
# sent again by any of them when the connection breaks.


def requests_session(site: Site) -> Iterator[None]:
    """The session of `requests`."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        while True:
            got = session.get(f"{site.url}/", timeout=30)
            assert (got.status_code, "process" in got.text) == (200, True), got.text
            posted = session.post(f"{site.url}/upload", data=BODY, timeout=30)
            assert (posted.status_code, posted.text[: len(RECEIVED)]) == (200, RECEIVED), posted.text
            yield


def httpx_client(site: Site) -> Iterator[None]:
    """The client of httpx that blocks."""
    connected = 0

    def trace(event: str, _info: object) -> None:
        nonlocal connected
        connected += event == "connection.connect_tcp.complete"

    with httpx.Client(trust_env=False, timeout=30, base_url=site.url) as client:
        while True:
            got = client.get("/", extensions={"trace": trace})
            assert (got.status_code, "process" in got.text) == (200, True), got.text
            posted = client.post("/upload", content=BODY, extensions={"trace": trace})
            assert (posted.status_code, posted.text[: len(RECEIVED)]) == (200, RECEIVED), posted.text
            assert connected == 1
            yield


AIOHTTP_TASKS = 10


def aiohttp_session(site: Site) -> Iterator[None]:
    """Ten tasks that share a session of aiohttp."""
    connected = 0

    async def count(*_: object) -> None:
        nonlocal connected
        connected += 1

    async def open_session() -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(count)
        return aiohttp.ClientSession(trace_configs=[trace], timeout=aiohttp.ClientTimeout(30))

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.get(f"{site.url}/") as got:
            assert (got.status, "process" in await got.text()) == (200, True)
        async with session.post(f"{site.url}/upload", data=BODY) as posted:
            assert (posted.status, (await posted.text())[: len(RECEIVED)]) == (200, RECEIVED)

    async def visit(session: aiohttp.ClientSession) -> None:
        await asyncio.gather(*(ask(session) for _ in range(AIOHTTP_TASKS)))

    with asyncio.Runner() as runner:
        session = runner.run(open_session())
        try:
            while True:
                runner.run(visit(session))
                assert connected <= AIOHTTP_TASKS
                yield
        finally:
            runner.run(session.close())


LIBRARIES = {
    "curl": curl,
    "curl, many URLs": curl_keep_alive,
    "requests": requests_session,
    "httpx": httpx_client,
    "aiohttp": aiohttp_session,
}


def websocket(site: Site) -> Iterator[None]:
    """Messages that come back, until the server says that it restarts; then it is there again, at once."""
    numbers = map(str, itertools.count())
    while True:
        with connect(f"ws://127.0.0.1:{site.port}/echo", proxy=None, open_timeout=30) as connection:
            try:
                for number in numbers:
                    connection.send(number)
                    assert connection.recv(30) == number
                    yield
            except ConnectionClosed as closed:
                if closed.rcvd is None or closed.rcvd.code != SERVICE_RESTART:
                    raise
