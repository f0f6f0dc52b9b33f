"""Apps of every kind, served by all of their workers."""

import re
import shutil
import socket
import threading

import pytest

from tests.client import load
from tests.system import versions
from tests.system.conftest import App


def test_all_eight_workers_answer(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=8)
    slots = {re.findall(r"worker (\d+)", app.get("/"))[0] for _ in range(80)}
    assert slots == {str(slot) for slot in range(8)}


def test_the_shipped_example_starts(app: App) -> None:
    app.machine.write("/etc/svc/app.toml.d/venv.toml", f'python = "{versions.PYTHON}"\n')
    app.machine.write("/etc/svc/app.toml.d/port.toml", f'listen = ["127.0.0.1:{app.port}"]\n')
    app.systemctl("daemon-reload")
    app.systemctl("start", "app.target")
    assert re.fullmatch(r"Handled by worker \d+, process \d+\n", app.get("/"))


def test_lifespan_runs_once_a_worker(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    app.systemctl("stop", "app.target")
    journal = app.machine.journal()
    for slot in range(3):
        assert journal.count(f"lifespan start {slot}\n") == 1
        assert journal.count(f"lifespan end {slot}\n") == 1


def test_wsgi_with_a_slow_client_and_a_large_body(app: App) -> None:
    app.deploy(versions.WSGI)
    app.start(workers=1)
    body = b"x" * 10_000_000
    with socket.create_connection(("127.0.0.1", app.port)) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        slow.sendall(body[:1000])
        # The only worker waits for this client's body, and answers others meanwhile.
        with load(app.url, connections=10, keep_alive=True) as clients:
            clients.wait(200)
        seen = clients.stop()
        assert seen.failed == 0, seen.table()
        slow.sendall(body[1000:])
        slow.shutdown(socket.SHUT_WR)
        assert b"got 10000000 bytes" in slow.makefile("rb").read()


def test_a_node_program_by_command(app: App) -> None:
    assert shutil.which("node"), "the tests need Node (make deps installs it)"
    app.machine.write(f"{versions.FOLDER}/server.js", versions.NODE)
    app.machine.write(
        "/etc/svc/app.toml",
        f'command = ["node", "server.js"]\ndirectory = "{versions.FOLDER}"\n'
        f'listen = ["127.0.0.1:{app.port}"]\nworkers = 2\n',
    )
    app.systemctl("daemon-reload")
    app.systemctl("start", "app.target")
    with load(app.url, connections=20, keep_alive=False) as clients:
        clients.wait(200)
        assert app.systemctl("reload", "app.target").returncode == 0
        clients.wait(200)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    assert "worker" in app.get("/")


def test_two_apps_on_one_host(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    port = app.free_port()
    app.machine.write("/etc/svc/other.toml", versions.configuration(port, 2))
    app.systemctl("daemon-reload")
    app.systemctl("start", "other.target")
    before = app.pids()
    app.systemctl("reload", "other.target")
    assert app.pids() == before
    assert "version 1" in app.get("/", port)
    app.systemctl("stop", "other.target")
    assert "version 1" in app.get("/")


def test_an_app_called_basic_is_refused_and_harms_nobody(app: App) -> None:
    app.deploy(versions.good("1"))
    app.configure(workers=1)
    app.machine.write("/etc/svc/basic.toml", versions.configuration(app.free_port(), 1))
    app.systemctl("daemon-reload")
    generator = "/usr/lib/systemd/system-generators/svc-generator"
    app.machine.run("mkdir", "-p", "/run/generated")
    run = app.machine.run(generator, *["/run/generated"] * 3, check=False)
    assert run.returncode == 1
    # In this machine there is no kernel log, so the reason goes to stderr.
    assert re.search(r"the name `basic` is taken by .*/basic\.target; rename the file", run.stderr)
    assert app.machine.path("/run/generated/app.target").exists()
    assert not app.machine.path("/run/generated/basic.target").exists()
    assert "/systemd/system/basic.target" in app.show("basic.target", "FragmentPath")
    assert not app.show("basic@0.service", "FragmentPath")
    app.systemctl("start", "app.target")
    assert app.get("/")


def test_two_apps_on_one_port(app: App) -> None:
    app.deploy(versions.good("1"))
    app.machine.write("/etc/svc/app.toml", versions.configuration(app.port, 1))
    app.machine.write("/etc/svc/other.toml", versions.configuration(app.port, 1))
    app.systemctl("daemon-reload")
    for name in ("app", "other"):
        done = app.systemctl("start", f"{name}.target", check=False)
        assert done.returncode != 0
    check = app.machine.run("svcctl", "check", check=False)
    assert check.returncode == 1
    assert f"127.0.0.1:{app.port} is taken by /etc/svc/other.toml" in check.stderr


def test_the_running_app_keeps_its_port(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=1)
    app.machine.write("/etc/svc/aaa.toml", versions.configuration(app.port, 1))
    app.systemctl("daemon-reload")
    assert app.systemctl("start", "aaa.target", check=False).returncode != 0
    assert app.systemctl("reload", "app.target").returncode == 0


def test_a_unix_socket_and_several_listeners(app: App) -> None:
    app.deploy(versions.good("1"))
    text = versions.configuration(app.port, 4, "[balance]\nlisteners = 2\n")
    text = text.replace("listen = [", 'listen = ["unix:/run/webapp/http.sock", ')
    app.machine.write("/etc/svc/app.toml", text)
    app.systemctl("daemon-reload")
    app.systemctl("start", "app.target")
    for _ in range(20):
        assert "version 1" in app.get("/")
    path = app.machine.path("/run/webapp/http.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"version 1" in client.makefile("rb").read()


@pytest.mark.parametrize("clients", [40])
def test_slow_requests_finish_on_a_stop(app: App, clients: int) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(app.get("/slow"))) for _ in range(clients)]
    with load(app.url, connections=5, keep_alive=True) as others:
        for thread in threads:
            thread.start()
        others.wait(200)
        app.systemctl("reload", "app.target")
        for thread in threads:
            thread.join()
    assert len(answers) == clients
    assert all("version 1" in answer for answer in answers)
    seen = others.stop()
    assert seen.failed == 0, seen.table()
