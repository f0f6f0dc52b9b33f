"""`python -P -m svc.worker NAME SLOT --app MODULE:ATTRIBUTE`: what a worker's unit executes."""

from svc import gentle

if __name__ == "__main__":
    gentle.process.begin()  # first: the imports below are a good part of a start

import argparse
import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from svc import turn
from svc.worker import (
    application,
    limits,
    listeners,
    log,
    loops,
    membership,
    notify,
    policies,
    requirements,
    room,
    runtime,
    uvicorn_seam,
    wsgi,
)
from svc.worker.canary import Canary
from svc.worker.edge import gate
from svc.worker.edge.strict import HEADERS
from svc.worker.handover import Meeting
from svc.worker.server import STOP_SIGNALS, Server

LAST_WORDS_SECONDS = 0.5  # for tasks that the application left running
LEAVE_SECONDS = 1.0  # for threads and atexit functions of the application


class StoppedEarlyError(SystemExit):
    """SIGTERM came while the application was being imported."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of a worker."""
    parser = argparse.ArgumentParser(
        prog="python -P -m svc.worker", description="One worker of an app of svc."
    )
    parser.add_argument("name", help="the app's name")
    parser.add_argument("slot", help='the worker\'s number from 0 on, or "surge"')
    parser.add_argument("--app", required=True, metavar="MODULE:ATTRIBUTE", help="the application object")
    parser.add_argument(
        "--interface", choices=("auto", "asgi", "wsgi"), default="auto", help="how it is called"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="how many workers the app has")
    parser.add_argument(
        "--policy", choices=policies.POLICIES, default="fair", help="how connections reach workers"
    )
    parser.add_argument("--drain", type=float, default=30.0, metavar="SECONDS", help="the longest drain")
    parser.add_argument("--canary", metavar="URL", help="what a new version must answer before it serves")
    parser.add_argument(
        "--canary-timeout", type=float, default=5.0, metavar="SECONDS", help="how long that may take"
    )
    parser.add_argument(
        "--concurrency", type=int, default=0, metavar="N", help="the most requests at a time; 0: no limit"
    )
    parser.add_argument(
        "--head", type=float, default=30.0, metavar="SECONDS", help="how long a request's head may take"
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long a client may stop in the middle",
    )
    parser.add_argument(
        "--requests", type=int, default=0, metavar="N", help="be replaced after so many requests"
    )
    parser.add_argument("--memory", type=int, default=0, metavar="BYTES", help="be replaced at this size")
    parser.add_argument(
        "--lifetime", type=float, default=0.0, metavar="SECONDS", help="be replaced at this age"
    )
    parser.add_argument("--body", type=int, default=0, metavar="BYTES", help="the largest body of a request")
    parser.add_argument(
        "--headers", type=int, default=HEADERS, metavar="BYTES", help="the largest head of a request"
    )
    parser.add_argument(
        "--loop", choices=("auto", "uvloop", "asyncio"), default="auto", help="the event loop"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker; the exit status is 0 after SIGTERM, 1 when it could not start, and `turn.EXIT_STATUS`
    when it has reached a limit.
    """
    options = parse(arguments)
    faulthandler.enable()  # the watchdog sends SIGABRT: the journal shall show where every thread is
    for number in STOP_SIGNALS:
        signal.signal(number, _stopped_early)
    journal = log.Journal()
    log.prepare_streams(journal)
    status = 0
    try:
        if run(options, journal):
            status = turn.EXIT_STATUS
    except log.WorkerError as error:
        journal.error(f"{options.name}: {error}")
        status = 1
    except SystemExit as error:  # in a task of the application, perhaps; Python's own status for it
        _leave_soon(error.code if isinstance(error.code, int) else int(error.code is not None))
        raise
    except BaseException:
        _leave_soon(1)
        raise
    _leave_soon(status)
    return status


def run(options: argparse.Namespace, journal: log.Journal) -> bool:
    """Take the listeners, load the application, serve. True when a successor shall start at once.

    Raises WorkerError.
    """
    with contextlib.ExitStack() as closing:
        turns = limits.Inherited(listeners.take_turns())
        closing.callback(turns.share)
        requirements.require()
        inherited = listeners.take()
        for listener in inherited:
            closing.enter_context(listener.sock)
        taken, bus = listeners.without_bus(inherited)
        watchdog = notify.watchdog_interval()
        notifier = notify.connect()
        closing.callback(notifier.close)
        recycling = limits.Recycling(
            limits.Limits(options.requests, options.memory, options.lifetime),
            runtime.runtime_directory(options.name),
            notifier,
            journal,
            turns,
        )
        os.environ["SVC_APP"], os.environ["SVC_SLOT"] = options.name, options.slot
        os.environ["SVC_WORKERS"] = str(options.workers)
        canary = _canary(options)
        member = membership.take_place(options.name, options.slot, options.workers, bus)
        if member is not None:
            closing.callback(member.close)
        chosen = loops.choose(journal, options.loop)
        closing.callback(_close, chosen)
        app, interface = _load(options, journal, chosen)
        is_wsgi = interface is application.Interface.WSGI
        if is_wsgi:
            closing.callback(_set_loop_of_its_own().close)
        limited = room.Limited(options.concurrency) if options.concurrency else None
        asgi = wsgi.as_asgi(app, limited) if is_wsgi else app
        if limited is not None and not is_wsgi:
            asgi = limited.wrap(asgi)
        log.adopt_logger("uvicorn.error", journal)
        meeting = _meet(options, journal)
        if meeting is not None:
            closing.callback(meeting.leave)
        name, slot, workers = options.name, options.slot, options.workers
        policy = policies.of(options.policy, name, slot, workers, taken, journal, meeting)
        wrapped = policy.wrap(asgi)
        at_once = app if is_wsgi and limited is None and wrapped is asgi else None
        http = uvicorn_seam.Http(
            gate.guard(wrapped, options.body), options.headers, websockets=not is_wsgi, wsgi=at_once
        )
        helps = policy.helping
        server = Server(
            http, chosen, taken, journal, notifier, options.drain, watchdog, meeting, helps, member, recycling
        )
        server.program, server.route, server.canary = policy.program, policy.router(chosen.loop), canary
        server.alone = workers == 1
        server.room, server.head_seconds, server.pause_seconds = limited, options.head, options.pause
        try:
            replaced = chosen.loop.run_until_complete(server.serve())
        finally:
            _end_tasks(chosen.loop)
    return replaced


def _canary(options: argparse.Namespace) -> Canary | None:
    """What this worker has to answer before it serves.

    Only a version that no rollout has brought to its end yet is asked (`svc.rollout.folder` says so): one
    that is back from a crash must not be kept out because of what the canary depends on.
    """
    unproven = os.environ.pop("SVC_UNPROVEN", "")
    return Canary(options.canary, options.canary_timeout) if options.canary and unproven else None


def _meet(options: argparse.Namespace, journal: log.Journal) -> Meeting | None:
    """Where connections are handed over. A worker that was started by hand has no such place."""
    directory = runtime.runtime_directory(options.name)
    if directory is None:
        return None
    try:
        return Meeting.join(directory, options.slot)
    except OSError as error:
        journal.warning(f"{directory}: {error.strerror}; connections cannot be handed over to siblings")
        return None


def _close(chosen: loops.Loop) -> None:
    # Python gives signals back to the system when it ends, and one more SIGTERM would be the status.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    loops.close(chosen)


def _load(
    options: argparse.Namespace, journal: log.Journal, chosen: loops.Loop
) -> tuple[application.Application, application.Interface]:
    # For applications that ask for the event loop when they are imported. It does not run yet: a
    # running loop is what Django and others take for a sign that they must not touch the database.
    asyncio.set_event_loop(chosen.loop)
    directory = application.working_directory()
    application.add_directory(directory)
    try:
        app = application.load(options.app, directory)
    except (StoppedEarlyError, log.WorkerError):
        raise
    except BaseException as error:
        journal.exception(f"{options.name}: importing {options.app} failed:", error)
        raise log.WorkerError(
            f"app = {options.app!r} could not be imported, the traceback is above: {log.in_one_line(error)}"
        ) from None
    if options.interface != "auto":
        return app, application.Interface(options.interface)
    return app, application.interface_of(options.app, app)


def _set_loop_of_its_own() -> asyncio.AbstractEventLoop:
    """Let blocking code find an event loop that does not run, as it would in a server without one."""
    loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    return loop


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what the application left running, as asyncio.run() does, so that its `finally` blocks run."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=LAST_WORDS_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _leave_soon(status: int) -> None:
    """End the process even if a thread of the application does not: else systemd would have to kill it."""

    def leave() -> None:
        sys.stdout.flush()
        os._exit(status)

    timer = threading.Timer(LEAVE_SECONDS, leave)
    timer.daemon = True
    timer.start()


def _stopped_early(_number: int, _frame: object) -> NoReturn:
    raise StoppedEarlyError(0)  # nothing has begun, so nothing is to be drained


if __name__ == "__main__":
    sys.exit(main())
