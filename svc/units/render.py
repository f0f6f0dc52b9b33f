"""An app becomes units: `App` and `Host` in, {unit name: text} out. Pure.

Every value passes through `svc.units.escape` on its way into a template, except what is passed through
verbatim, which `svc.config` has checked: no value can leave its line.
"""

import re
from typing import Any

from svc import turn
from svc.app import FAIR, STICKY_IP, App, Cluster, Family, Interface, Limits, Listen
from svc.units import escape
from svc.units.host import Host
from svc.units.running import NOT_RUNNING, Running
from svc.units.sockets import address, sockets, tcp
from svc.units.templates import fill

# One listener per this many workers: walking past more busy waiters costs more than a second
# listener does (measured; systemd-facts in the manual).
WORKERS_PER_LISTENER = 16

# What a worker may take after its drain for the application's own shutdown, in seconds.
SHUTDOWN_MARGIN = 5.0

# A worker of svc beats its heart by itself; another program is only watched when asked for.
DEFAULT_WATCHDOG = 30.0

# Names of users are at most 31 characters of these (systemd: "User/Group Name Syntax").
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")

_HOMES = ("/home/", "/root/", "/run/user/")


def render(app: App, host: Host, running: Running = NOT_RUNNING) -> dict[str, str]:
    """Return the text of every unit of `app` by the unit's name; `running` is what it runs with now."""
    held = sockets(app, listener_count(app, host), running)
    names = [f"{app.name}.target", f"{app.name}.service", f"{app.name}@.service", *held.files]
    bus = [f"{app.name}-bus@.socket", f"{app.name}-bus@.service"] if has_bus(app) else []
    wake = [f"{app.name}-wake@.service"] if held.further else []
    common: dict[str, Any] = {
        "name": app.name,
        "source": escape.plain(str(app.source)),
        "systemd": host.systemd,
        "user_scope": host.user_scope,
        "workers": worker_units(app, host),
        "sockets": held.units,
        "bus": f"{app.name}-bus@%i.socket" if bus else "",
        "units": [*names, *bus, *wake],
    }
    units = {
        f"{app.name}.target": _fill("app.target", common, wanted_by=wanted_by(app, host)),
        f"{app.name}.service": _fill(
            "app.service", common, rollout=_rollout(app, host), verdict=_rollout(app, host, "--verdict")
        ),
        f"{app.name}@.service": _fill("app@.service", common, **_worker(app, host)),
    }
    for unit, addresses in held.files.items():
        units[unit] = _fill("app.socket", common, unit=unit, **_socket(app, unit, addresses))
    for unit in bus:
        units[unit] = _fill(unit.replace(f"{app.name}-bus@", "app-bus"), common)
    for unit in wake:
        units[unit] = _fill("app-wake.service", common)
    return units


def has_bus(app: App) -> bool:
    """Say whether the workers get a queue for messages. A program that does not expect one would take it
    for a listener.
    """
    return app.cluster.bus if app.cluster.bus is not None else not app.command


def worker_count(app: App, host: Host) -> int:
    """Return the number of slots."""
    return app.workers if app.workers is not None else host.cpus


def worker_units(app: App, host: Host) -> list[str]:
    """Return the units of the slots in their order: app@0.service, app@1.service, …"""
    return [f"{app.name}@{slot}.service" for slot in range(worker_count(app, host))]


def listener_count(app: App, host: Host) -> int:
    """Return how many listeners are to be bound to each TCP address of the app."""
    workers = worker_count(app, host)
    if not tcp(app):
        return 1  # unix sockets have no SO_REUSEPORT
    if app.balance.policy == STICKY_IP:
        return workers
    if app.balance.listeners is None:
        if app.command:
            return 1  # most programs take one listener, and accept from no other
        return -(-workers // WORKERS_PER_LISTENER)
    return app.balance.listeners or workers


def wanted_by(app: App, host: Host) -> tuple[str, ...]:
    """Return the units that start this app at boot."""
    if app.wanted_by is not None:
        return app.wanted_by
    return ("default.target",) if host.user_scope else ("multi-user.target",)


def _socket(app: App, unit: str, addresses: tuple[str, ...]) -> dict[str, Any]:
    return {
        "addresses": addresses,
        "description": ", ".join(f"unix:{one}" if one.startswith("/") else one for one in addresses),
        "descriptor": "http-%i" if unit == f"{app.name}@.socket" else "http",
        # systemd opens no socket whose service is active, as the coordinator is while an app grows.
        "service": f"{app.name}.service" if unit == f"{app.name}.socket" else f"{app.name}-wake@%i.service",
        # 0.0.0.0 and [::] on one port, in this unit or in two.
        "ipv6_only": any(
            one == Listen(Family.INET6, "::", one.port) and other == Listen(Family.INET, "0.0.0.0", one.port)
            for one in app.listen
            for other in app.listen
            if address(one) in addresses
        ),
        "defer_accept": bool(app.app) and any(not one.startswith("/") for one in addresses),
        "directives": app.socket,
    }


def _worker(app: App, host: Host) -> dict[str, Any]:
    watchdog = app.limits.watchdog
    if watchdog is None:
        watchdog = 0.0 if app.command else DEFAULT_WATCHDOG
    return {
        "type": "notify" if app.app or app.notify else "exec",
        "command": _command(app, host),
        "gentle": bool(app.app),  # svc.gentle, which another program does not know
        "directory": escape.path(app.directory) if app.directory else "",
        "environment": _environment(app, host),
        "start": _seconds(app.limits.start),
        "stop": _seconds(app.limits.drain + SHUTDOWN_MARGIN),
        "watchdog": _seconds(watchdog) if watchdog else "",
        "replaces": app.limits.replaces,
        "replaced_status": turn.EXIT_STATUS,
        "user": escape.plain(app.user),
        "dynamic_user": _dynamic_user(app.name),
        "protect_home": "read-only" if _lives_in_a_home(app) else "yes",
        "credentials": [f"{name}:{escape.path(file)}" for name, file in app.credentials],
        "unit_directives": app.unit,
        "service_directives": app.service,
    }


def _command(app: App, host: Host) -> str:
    if app.command:
        return escape.command_line(app.command)
    options = ["--app", app.app]
    if app.interface is not Interface.AUTO:
        options += ["--interface", app.interface]
    options += ["--drain", _number(app.limits.drain), "--workers", str(worker_count(app, host))]
    if app.reload.canary:
        options += ["--canary", app.reload.canary, "--canary-timeout", _number(app.reload.canary_timeout)]
    if app.limits.concurrency:
        options += ["--concurrency", str(app.limits.concurrency)]
    if app.limits.head != Limits().head:
        options += ["--head", _number(app.limits.head)]
    if app.limits.pause != Limits().pause:
        options += ["--pause", _number(app.limits.pause)]
    if app.limits.requests:
        options += ["--requests", str(app.limits.requests)]
    if app.limits.memory:
        options += ["--memory", str(app.limits.memory)]
    if app.limits.lifetime:
        options += ["--lifetime", _number(app.limits.lifetime)]
    if app.limits.headers != Limits().headers:
        options += ["--headers", str(app.limits.headers)]
    if app.limits.body:
        options += ["--body", str(app.limits.body)]
    if app.balance.policy != FAIR:
        options += ["--policy", app.balance.policy]
    # -P keeps the current directory off the path until svc has started: a module of the
    # application's that is called like one of ours cannot break the worker. %i is the slot.
    start = escape.command_line([app.python, "-P", "-m", "svc.worker", app.name])
    return f"{start} %i {' '.join(map(escape.argument, options))}"


def _environment(app: App, host: Host) -> list[str]:
    own = dict(app.env)
    if app.app:
        own["PYTHONPATH"] = ":".join(filter(None, [own.get("PYTHONPATH"), host.library]))
    assignments = [escape.environment(name, value) for name, value in own.items()]
    if app.cluster.cache != Cluster().cache:
        assignments.append(f"SVC_CACHE_SIZE={app.cluster.cache}")
    if app.cluster.url:
        assignments.append(escape.environment("SVC_CLUSTER_URL", app.cluster.url))
    if app.cluster.fallback:
        assignments.append("SVC_CLUSTER_FALLBACK=1")
    # A worker of svc tells its application the rest by itself; %i is the slot.
    if app.app:
        return assignments
    return [*assignments, f"SVC_APP={app.name}", "SVC_SLOT=%i", f"SVC_WORKERS={worker_count(app, host)}"]


def _rollout(app: App, host: Host, *options: str) -> str:
    scope = ["--user"] if host.user_scope else []
    return escape.command_line([host.svcctl, *scope, "rollout", *options, app.name])


def _dynamic_user(name: str) -> str:
    user = f"svc-{name}"
    if _USER_NAME.fullmatch(user):
        return user
    import hashlib  # OpenSSL is dear at boot, and few names need it

    return f"svc-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _lives_in_a_home(app: App) -> bool:
    program = app.command[0] if app.command else app.python
    return in_home(app.directory) or in_home(program)


def in_home(path: str) -> bool:
    """Whether a path is hidden from a service with ProtectHome=yes (systemd.exec(5))."""
    return f"/{path.lstrip('/')}/".startswith(_HOMES)


def _number(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _seconds(seconds: float) -> str:
    return f"{_number(seconds)}s"


def _fill(template: str, common: dict[str, Any], **values: Any) -> str:
    return fill(f"{template}.j2", common | values)
