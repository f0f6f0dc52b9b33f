"""Workers that leak: until they replace themselves, or until the kernel kills them."""

import re

from tests.client import get
from tests.soak import apps
from tests.soak.trial import Row, Trial
from tests.system import replaced
from tests.system.conftest import App

KILLED = r"app@(\d)\.service: Failed with result 'oom-kill'"

# A start-up that takes its time, so that two workers that are away at once would show.
LEAKING = {
    "ASGI": apps.asgi(startup="await asyncio.sleep(0.3)"),
    "WSGI": f"import time\ntime.sleep(0.3)\n{apps.WSGI}",
}


def until_its_limit(app: App, interface: str) -> Row:
    """Each worker leaks until `limits.memory`, and replaces itself: one at a time."""
    app.deploy(LEAKING[interface])
    with replaced.watched(app):
        app.start(workers=3, more=f'[limits]\nmemory = "96M"\n{replaced.NO_RESTART}')
        since = app.machine.cursor()
        with Trial(app, path="/leak", keep_alive=True) as trial:
            replaced.wait_replaced(app, 3, since, rounds=1)
            row = trial.row(
                f"each worker leaks until limits.memory ({interface})", "3 workers: each replaced itself"
            )
        replaced.check(app, 3, since)
    assert "is ignored" not in app.machine.journal()
    return row


def until_memory_max(app: App) -> Row:
    """A worker leaks until MemoryMax=: the kernel kills it, and no other.

    Without a memory controller it is killed as the kernel would: the row says which of both was seen.
    """
    app.deploy(apps.asgi())
    app.start(workers=2, more='[service]\nMemoryMax = "128M"\nMemorySwapMax = "0"\n')
    shown = app.machine.show("app@0.service", "MemoryMax", "OOMPolicy", "Restart")
    assert shown == {"MemoryMax": str(128 << 20), "OOMPolicy": "kill", "Restart": "always"}
    before = app.pids()
    with Trial(app) as trial:
        if has_memory_controller(app):
            get(f"{app.url}/burst")
            slot = int(app.machine.wait_journal(KILLED)[1])
            moment = re.search(rf"\[ *([\d.]+)\] .*{KILLED}", app.machine.journal(output="short-monotonic"))
            assert moment
            trial.ends.append(float(moment[1]))
            name = "a worker leaks until MemoryMax="
        else:
            slot = 1
            trial.kill(before[slot])
            name = "SIGKILL of a worker, as at MemoryMax= (no memory controller here)"
        trial.wait_workers(2, replaced=[before[slot]])
        assert app.pids()[1 - slot] == before[1 - slot]
        return trial.row(name, "2 workers, by themselves")


def has_memory_controller(app: App) -> bool:
    """Whether the machine's systemd can limit memory (cgroup version 2)."""
    listed = app.machine.run("cat", "/sys/fs/cgroup/cgroup.controllers", check=False).stdout
    return "memory" in listed.split()
