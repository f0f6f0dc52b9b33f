"""What an app is: the frozen result of reading its configuration.

Only data. `svc.config` makes it, `svc.units.render` turns it into units.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Interface(StrEnum):
    """How the application object is called."""

    AUTO = "auto"
    ASGI = "asgi"
    WSGI = "wsgi"


class Family(StrEnum):
    """The address family of a listener."""

    INET = "inet"
    INET6 = "inet6"
    UNIX = "unix"


@dataclass(frozen=True, slots=True)
class Listen:
    """One address to listen on.

    `host` is an IP literal without brackets, or empty for a unix socket; `path` is the
    absolute path of a unix socket, or empty.
    """

    family: Family
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.family is Family.UNIX:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if self.family is Family.INET6 else f"{self.host}:{self.port}"


FAIR, STICKY_IP, STICKY_COOKIE = "fair", "sticky-ip", "sticky-cookie"


@dataclass(frozen=True, slots=True)
class Balance:
    """How connections reach workers. `listeners` is None for "auto", 0 for "per-worker"."""

    policy: str = FAIR
    listeners: int | None = None


@dataclass(frozen=True, slots=True)
class Reload:
    """How a rollout goes. `batch` is a number of slots, or "N%" of them; `canary_timeout` is in seconds.

    `canary` is a path or a URL, `stamp` an absolute path; empty for none.
    """

    surge: int = 1
    batch: int | str = 1
    canary: str = ""
    canary_timeout: float = 5.0
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a worker: times in seconds, `memory` in bytes.

    `watchdog` is None for the default of its kind. 0 is none, for it and for the limits at which a worker is
    replaced: `requests`, `memory` and `lifetime`; and for `concurrency`, the requests at a time, `head`, the
    time in which a request's head has to come, and `pause`, for which a client may stop in the middle of its
    body or of an answer. `headers` and `body` are the bytes that one may have, 0 for a body of any size.
    """

    start: float = 60.0
    drain: float = 30.0
    watchdog: float | None = None
    concurrency: int = 0
    head: float = 30.0
    pause: float = 60.0
    requests: int = 0
    memory: int = 0
    lifetime: float = 0.0
    headers: int = 64 << 10
    body: int = 0

    @property
    def replaces(self) -> bool:
        """Whether workers are replaced in the course of time."""
        return bool(self.requests or self.memory or self.lifetime)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What workers share. `bus` says whether each gets a queue for messages, None for the default of its
    kind; `cache` is in bytes. `url` is the server that several hosts share, "" for none; `fallback` lets each
    use a cache of its own while that is away.
    """

    bus: bool | None = None
    cache: int = 64 << 20
    url: str = ""
    fallback: bool = False


# A directive that is passed through: its name and its value, as they stand in the unit.
Directive = tuple[str, str]


@dataclass(frozen=True, slots=True)
class App:
    """One application: everything that its units are made of.

    Exactly one of `app` ("module:attribute") and `command` is set. `workers` is None for
    "auto" (the CPUs that this host gives us). `wanted_by` is None for the default of the
    scope: multi-user.target, or default.target of a user.
    """

    name: str
    source: Path
    listen: tuple[Listen, ...]
    app: str = ""
    command: tuple[str, ...] = ()
    interface: Interface = Interface.AUTO
    notify: bool = False
    workers: int | None = None
    directory: str = ""
    python: str = "/usr/bin/python3"
    user: str = ""
    wanted_by: tuple[str, ...] | None = None
    balance: Balance = field(default_factory=Balance)
    reload: Reload = field(default_factory=Reload)
    limits: Limits = field(default_factory=Limits)
    cluster: Cluster = field(default_factory=Cluster)
    env: tuple[tuple[str, str], ...] = ()
    credentials: tuple[tuple[str, str], ...] = ()
    unit: tuple[Directive, ...] = ()
    service: tuple[Directive, ...] = ()
    socket: tuple[Directive, ...] = ()
