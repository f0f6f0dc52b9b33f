"""svc-generator: writes the units of every app at boot and on each daemon-reload (systemd.generator(7)).

A generator runs before anything else does: it may start no process, talk to none, and must not
cost a host that has no app. So this module imports nothing of weight until it has seen an app.
"""

import os
import sys

from svc.folders import app_folders, has_apps, has_running, rollout_folders


def main(argv: list[str]) -> int:
    """Write the units into the last of the three folders, `late`: there they override no vendor's unit.

    Returns 0, or 1 when an app had to be left out. The others come out all the same.
    """
    if len(argv) != 4:
        print("usage: svc-generator NORMAL-DIR EARLY-DIR LATE-DIR (run by systemd)", file=sys.stderr)
        return 2
    user_scope = os.environ.get("SYSTEMD_SCOPE", "system") == "user"

    # An app may run whose file is gone.
    there = any(map(has_apps, app_folders(user_scope=user_scope)))
    if not there and not has_running(rollout_folders(user_scope=user_scope)):
        return 0
    try:
        messages = _generate(argv[3], user_scope=user_scope)
    except Exception as error:  # Python is being upgraded, a file of svc is damaged, …
        messages = [f"no units can be made: {type(error).__name__}: {error} (apps that run keep theirs)"]
        messages += _keep(argv[3], user_scope=user_scope)
    for message in messages:
        log(message)
    return 1 if messages else 0


def _generate(folder: str, *, user_scope: bool) -> list[str]:
    from pathlib import Path

    from svc.config import SearchPath
    from svc.units.generate import generate
    from svc.units.host import this_host

    search = SearchPath.user() if user_scope else SearchPath.system()
    return generate(search, this_host(user_scope=user_scope), Path(folder))


def _keep(folder: str, *, user_scope: bool) -> list[str]:
    """Write the units that apps run with. Needs only a small part of svc, and no other package."""
    from pathlib import Path

    from svc.units.running import running, running_names

    messages = []
    for name in running_names(user_scope=user_scope):
        units = running(name, user_scope=user_scope).units
        if not units:
            messages.append(f"{name}: its units cannot be kept: nothing is there of them")
        try:
            for unit, text in units.items():
                Path(folder, unit).write_text(text, encoding="utf-8")
        except OSError as error:
            messages.append(f"{name}: its units cannot be kept: {error}")
    return messages


def log(message: str) -> None:
    """Write one error to the kernel's log, which the journal reads; to stderr where there is none."""
    line = f"<3>svc-generator[{os.getpid()}]: {message}\n"
    try:
        kmsg = os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        sys.stderr.write(line.removeprefix("<3>"))
        return
    try:
        # One write is one record; the kernel cuts what is longer than its record (printk.c).
        os.write(kmsg, line.encode(errors="replace")[:900])
    finally:
        os.close(kmsg)
