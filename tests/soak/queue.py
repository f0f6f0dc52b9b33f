"""The kernel's queue of connections overflows."""

from pathlib import Path

from tests.soak import apps, workers
from tests.soak.trial import Row, Trial, late
from tests.system.conftest import App

STOPPED_SECONDS = 5
LATE_SECONDS = 0.5


def overflow(app: App) -> Row:
    """All workers are stopped at a high rate of new connections: clients wait, none is refused."""
    app.deploy(apps.asgi())
    app.start(workers=3, more="[socket]\nBacklog = 8\n")
    before = app.pids()
    pids = workers.on_host(app.machine, before)
    # Each client waits for its answer: so there must be more of them than the queue has room for.
    with Trial(app, options={"connections": 60}) as trial:
        overflows = listen_overflows()
        workers.stop(pids)
        try:
            # Nobody answers, so the load cannot be the clock; the queue itself says that it is full.
            app.machine.run("sleep", str(STOPPED_SECONDS))
            overflows = listen_overflows() - overflows
        finally:
            workers.go_on(pids)
        trial.pass_time(STOPPED_SECONDS + 2)
        answered = trial.clients.count()[0]
        trial.pass_time(1)
        assert trial.clients.count()[0] > answered
        delayed = late(trial.clients.stop(), LATE_SECONDS)
        row = trial.row(
            f"all workers stopped for {STOPPED_SECONDS} s, the accept queue full "
            f"({overflows} tries not let in, {delayed} answers late)",
            "the same 3 workers, by themselves",
        )
    assert overflows > 0
    assert delayed > 0
    assert app.pids() == before
    return row


def listen_overflows() -> int:
    """How often a connection found a full queue on this host (TcpExt ListenOverflows, proc_net_netstat)."""
    names, values = (
        line.split()
        for line in Path("/proc/net/netstat").read_text().splitlines()
        if line.startswith("TcpExt:")
    )
    return int(dict(zip(names, values, strict=True))["ListenOverflows"])
