"""Workers in other languages take part: Perl by the documented format, Node with the helper that svc has."""

import json
from pathlib import Path

from svc.cluster.bus import values, wire
from tests.system import cluster_apps
from tests.system.conftest import App

PERL = Path(__file__).with_name("cluster_worker.pl").read_text()

# Sends standard input to a queue, as a program that is no worker.
OUTSIDER = """
import socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.sendto(bytes.fromhex(sys.stdin.read()), sys.argv[1])
"""


def deploy(app: App, *command: str) -> None:
    """Start two workers of a program, with a queue each."""
    app.machine.write(
        "/etc/svc/app.toml",
        f'command = {json.dumps(command)}\nlisten = "127.0.0.1:{app.port}"\nworkers = 2\n'
        '[cluster]\nbus = true\n[env]\nPYTHONPATH = "/usr/lib/svc/python"\n',
    )
    app.systemctl("daemon-reload")
    app.systemctl("start", "app.target")


def test_perl_workers_take_part_by_the_documented_format(app: App) -> None:
    app.machine.write("/srv/webapp/worker.pl", PERL)
    deploy(app, "/usr/bin/perl", "/srv/webapp/worker.pl")
    app.systemctl("stop", "app@1.service")
    assert app.get("/send/0/here") == "sent"
    assert app.get("/send/1/away") == "sent"
    assert app.get("/send/2/nobody").startswith("no worker 2")
    # And what svc itself puts into a datagram, several messages of two kinds. Only the app's own user may.
    datagram = wire.header(wire.OUTSIDER, 77) + b"".join(
        wire.frame(kind, wire.MESSAGE, number, value)
        for number, (kind, value) in enumerate(map(values.encode, (["of", "svc"], b"bytes")), 1)
    )
    worker = f"/proc/{app.pids()[0]}"
    user, group = (app.machine.run("stat", f"--format=%{what}", worker).stdout.strip() for what in "ug")
    identity = (f"--reuid={user}", f"--regid={group}", "--clear-groups")
    for slot in range(2):
        queue = f"/run/svc/.bus/app/{slot}"
        app.machine.run("setpriv", *identity, "python3", "-c", OUTSIDER, queue, input=datagram.hex())
    theirs = [f'{wire.OUTSIDER} 0 ["of","svc"]', f"{wire.OUTSIDER} 1 bytes"]
    assert app.get("/received").splitlines() == ["0 1 here", *theirs]
    app.systemctl("start", "app@1.service")
    app.systemctl("stop", "app@0.service")
    assert app.get("/received").splitlines() == ["0 1 away", *theirs]


def test_a_node_worker_takes_part(app: App) -> None:
    app.machine.write("/srv/webapp/talk.js", cluster_apps.NODE)
    deploy(app, "node", "/srv/webapp/talk.js")
    for slot in (0, 1):
        answer = json.loads(app.get(f"/ask/{slot}"))
        assert answer["data"] == f"greetings from {slot}"
    assert "NoSuchSlot" in json.loads(app.get("/ask/9"))["error"]
    assert app.get("/all") == "sent"
    assert app.get("/ask/0")  # behind the broadcast in each queue
    assert app.get("/ask/1")
    for _ in range(4):
        assert {"hello": "wörld"} in json.loads(app.get("/received"))
