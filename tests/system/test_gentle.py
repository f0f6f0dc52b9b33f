"""A starting worker is gentle to its siblings, and serves at its own priority, with all its threads."""

from pathlib import Path

from svc import gentle
from tests.system import versions
from tests.system.conftest import App

APPLICATION = """
import os, threading, time

def autogroup():
    try:
        return open("/proc/self/autogroup").read().split()[-1]
    except OSError:
        return "none"

def nice():
    stats = [open(f"/proc/self/task/{thread}/stat").read() for thread in os.listdir("/proc/self/task")]
    return ",".join(sorted({stat.rpartition(")")[2].split()[16] for stat in stats}))

AT_IMPORT = autogroup()
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()

def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{AT_IMPORT} {autogroup()} {nice()} {threading.active_count()}".encode()]
"""


def said(app: App) -> list[str]:
    """Return the autogroup's priority at import and now, the nice values of all threads, their number."""
    return app.get("/").split()


def test_a_worker_starts_with_a_low_priority_and_serves_with_its_own(app: App) -> None:
    app.deploy(APPLICATION)
    app.start(workers=1)
    here = (str(gentle.STEP), "0") if Path("/proc/self/autogroup").exists() else ("none", "none")
    # The kernel takes ten writes a second from all processes of the host: one that came too late starts anew.
    for _ in range(20):
        if said(app)[0] == here[0]:
            break
        app.systemctl("restart", "app.target")
    at_import, now, nice, threads = said(app)
    assert (at_import, nice, threads) == (here[0], "0", "2")
    # The kernel takes ten writes a second from all, so a start that took less ends a moment after READY=1.
    while now != here[1]:
        now = said(app)[1]


def test_a_nice_value_of_the_app_file_stays(app: App) -> None:
    app.deploy(APPLICATION)
    app.start(workers=1, more="[service]\nNice = 5\n")
    assert said(app)[2] == "5"


def test_the_process_that_replaces_workers_is_gentle_to_them(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=1)
    app.deploy(versions.good("2", startup_seconds=2))
    reload = app.machine.popen("systemctl", "reload", "app.service")
    app.machine.wait_journal(r"starting app@surge\.service with the new version")
    pid = app.show("app.service", "ControlPID")
    stat = app.machine.run("cat", f"/proc/{pid}/stat").stdout
    assert stat.rpartition(")")[2].split()[16] == str(gentle.STEP)
    assert reload.wait() == 0
