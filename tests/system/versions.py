"""Versions of an application that a test deploys: good ones and every kind of broken one."""

FOLDER = "/srv/webapp"
FILE = f"{FOLDER}/webapp.py"
PYTHON = "/opt/svc-venv/bin/python"

_APPLICATION = """
import asyncio, os, sys, threading

VERSION = {version!r}
WORKER = os.environ["SVC_SLOT"]

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                {startup}
                print("lifespan start", WORKER, flush=True)
                await send({{"type": "lifespan.startup.complete"}})
            else:
                print("lifespan end", WORKER, flush=True)
                await send({{"type": "lifespan.shutdown.complete"}})
                return
    path = scope["path"]
    if path == "/hang":
        threading.Event().wait()
    if path == "/crash":
        os._exit(3)
    if path == "/slow":
        await asyncio.sleep(2)
    status = {health} if path == "/healthz" else 200
    body = f"worker {{WORKER}} process {{os.getpid()}} version {{VERSION}}".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({{"type": "http.response.start", "status": status, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""


def good(version: str, startup_seconds: float = 0.0, health: int = 200) -> str:
    """Return a version that works; its start-up takes `startup_seconds`, /healthz has the status `health`."""
    startup = f"await asyncio.sleep({startup_seconds})"
    return _APPLICATION.format(version=version, startup=startup, health=health)


def only_in_slots(version: str, *slots: str) -> str:
    """Return a version that starts only as these workers."""
    return _APPLICATION.format(version=version, startup=f"assert WORKER in {slots!r}, 'not here'", health=200)


def fails_in_start_up(startup: str) -> str:
    """Return a version whose lifespan start-up runs a statement."""
    return _APPLICATION.format(version="broken", startup=startup, health=200)


BROKEN = {
    "syntax error": "def app(:\n",
    "exits at once": "import sys\nsys.exit('no licence')\n",
    "fails in start-up": fails_in_start_up("raise RuntimeError('no database')"),
    "hangs in start-up": fails_in_start_up("await asyncio.Event().wait()"),
}

# What the one line in which a rollout says why it failed has about each.
REASONS = {
    "syntax error": "SyntaxError",
    "exits at once": "no licence",
    "fails in start-up": "no database",
    "hangs in start-up": "not ready within its time",
}

WSGI = """
import os, time

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    answer = f"process {os.getpid()} got {len(body)} bytes".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
"""

NODE = """
const http = require("node:http");
const server = http.createServer((request, response) => {
  response.end(`worker ${process.env.SVC_SLOT} process ${process.pid}`);
});
server.listen({ fd: 3 });
process.on("SIGTERM", () => server.close(() => process.exit(0)));
"""


def configuration(port: int, workers: int, more: str = "") -> str:
    """Return an app file that serves the deployed application; `more` are further sections."""
    return f"""
app = "webapp:app"
directory = "{FOLDER}"
python = "{PYTHON}"
listen = ["127.0.0.1:{port}"]
workers = {workers}
{more}
"""
