"""The table of all settings: one row each, for the parser, `svcctl check` and the manual alike.

The order of the rows is the order of the manual. A default is written once, here, as the
value that `svc.app` has for it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from svc.app import FAIR, STICKY_COOKIE, STICKY_IP, Interface
from svc.config import values
from svc.config.addresses import listen
from svc.config.problems import show
from svc.config.server_url import server_url
from svc.config.values import Invalid, Parser

ANY = "*"
"""The key of a row that stands for every name in its section."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `section` is empty for the top of the file.

    `parse` returns the value or raises `svc.config.values.Invalid`. `default` is the value without the
    key, `shown` what the manual says of it, in TOML where there is a way to write it. `later`
    says what a key is for whose function comes with a later version: to use it is an error.
    `name` checks the names of a section that takes any (key `ANY`), and raises `Invalid`.
    """

    section: str
    key: str
    parse: Parser
    default: object
    shown: str
    help: str
    example: str
    later: str = ""
    name: Callable[[str], None] | None = None

    @property
    def path(self) -> str:
        """The dotted path by which messages name this setting."""
        return f"{self.section}.{self.key}" if self.section else self.key


def environment_name(name: str) -> None:
    """Refuse what is not the name of an environment variable, and what systemd itself sets."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > 255:
        raise Invalid(f"{show(name)} cannot name an environment variable", "use letters, digits and _")
    if name == "NOTIFY_SOCKET" or name.startswith(("LISTEN_", "WATCHDOG_")):
        raise Invalid(f"`{name}` is set by systemd for each worker", "remove it")


def environment_value(value: object) -> str:
    """Return the text of a variable: true and false in lower case, numbers in decimal."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _number(value)
        case str():
            return values.string(value, tab=True)
        case _:
            raise Invalid(f"{show(value)} cannot be the value of an environment variable", "write a string")


def credential_name(name: str) -> None:
    """Refuse what cannot name a credential: a file name without what separates the words of a line."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or len(name) > 255:
        raise Invalid(f"{show(name)} cannot name a credential", "use letters, digits and _ . -")


def directive_name(name: str) -> None:
    """Refuse what cannot be the name of a directive. That systemd knows it is not checked."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name) or len(name) > 255:
        raise Invalid(
            f"{show(name)} cannot name a directive", "write a name that systemd knows, such as MemoryMax"
        )


def directive(value: object) -> tuple[str, ...]:
    """Return the lines of a directive: one, or one for each element of a list (none if it is empty)."""
    match value:
        case list():
            return values.each(value, _directive_line)
        case _:
            return (_directive_line(value),)


def _directive_line(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _number(value)
        case str():
            text = values.string(value, tab=True)
            # systemd would read the next line as part of this one.
            if text.rstrip(" \t").endswith("\\"):
                raise Invalid(f"{show(value)} ends in a backslash, which joins the next line", "remove it")
            return text
        case _:
            raise Invalid(f"{show(value)} cannot be the value of a directive", "write a string")


def _number(value: float) -> str:
    text = show(value)
    # Exponents, infinities and what TOML does not promise to hold: nobody reads these alike.
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        raise Invalid(f"{text} has no plain decimal form", "write it as a string")
    return text


def _later(value: object) -> object:
    """Stand in as the parser of what comes later: the reader of the table reports it before."""
    return value


_OPEN_TABLE: tuple[object, ...] = ()

_SECONDS = 'Seconds, or a time such as "500ms", "30s" or "2min".'

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "", "app", values.app, "", "",
        "The Python application, ASGI or WSGI: the module to import and the attribute in it. "
        "Each app has either this or `command`.",
        'app = "mysite.asgi:application"',
    ),
    Setting(
        "", "command", values.command, (), "",
        "Any program that takes its listeners from systemd (LISTEN_FDS), with its arguments. No shell reads "
        "them. Each app has either this or `app`.",
        'command = ["node", "server.js"]',
    ),
    Setting(
        "", "interface", lambda value: Interface(values.choice(*Interface)(value)), Interface.AUTO, '"auto"',
        'How `app` is called: "asgi", "wsgi", or "auto" to find out by looking at it.',
        'interface = "wsgi"',
    ),
    Setting(
        "", "notify", values.boolean, False, "false",
        "Whether `command` says itself when it is ready (READY=1, see sd_notify(3)). "
        "Without it a worker counts as ready as soon as its program runs.",
        "notify = true",
    ),
    Setting(
        "", "listen", listen, (), "",
        'The addresses to listen on: "address:port", "[IPv6 address]:port" or "unix:/path". '
        "A single one may stand without brackets. Required.",
        'listen = ["0.0.0.0:8000", "unix:/run/mysite.sock"]',
    ),
    Setting(
        "", "workers", values.whole(1, 1024, auto=None), None, '"auto"',
        'How many workers to run, from 1 to 1024. "auto" is one for each CPU that this host gives us.',
        "workers = 8",
    ),
    Setting(
        "", "directory", values.directory, "", "",
        "The directory in which workers run, an absolute path. A link that deploys move is welcome.",
        'directory = "/srv/mysite/current"',
    ),
    Setting(
        "", "python", values.python, "/usr/bin/python3", '"/usr/bin/python3"',
        "The interpreter that runs `app`, an absolute path: normally that of its virtual environment.",
        'python = "/srv/mysite/venv/bin/python"',
    ),
    Setting(
        "", "user", values.user, "", "",
        "The user that workers run as, a name or a number; without it, one that systemd makes for the app. "
        "Only for apps of the system.",
        'user = "mysite"',
    ),
    Setting(
        "", "wanted_by", values.units, None, '["multi-user.target"]',
        "The units that start the app, at boot for instance. An empty list: only by hand. "
        'The default of a user\'s own apps is ["default.target"].',
        "wanted_by = []",
    ),
    Setting(
        "balance", "policy", values.choice(FAIR, STICKY_IP, STICKY_COOKIE), FAIR, '"fair"',
        'How connections reach workers. "fair" gives each to the worker that has waited longest; "sticky-ip" '
        "those of one IPv4 address, or one /64 of IPv6, to the same worker, and to another only while that "
        'one is away; "sticky-cookie" to the worker that the cookie svc-NAME names, which the first answer '
        "sets.",
        'policy = "sticky-ip"',
    ),
    Setting(
        "balance", "listeners", values.whole(1, 64, auto=None, per_worker=0), None, '"auto"',
        'How many listeners share an address, from 1 to 64, or "per-worker" for one each. '
        '"auto" is one for every 16 workers, with policy = "sticky-ip" one each. Only for `app`: a `command` '
        "has one.",
        "listeners = 2",
    ),
    Setting(
        "reload", "surge", values.whole(0, 64), 1, "1",
        "How many extra workers run during a rollout, from 0 to 64. With at least 1, the new version proves "
        "itself before any old worker stops.",
        "surge = 2",
    ),
    Setting(
        "reload", "batch", values.batch, 1, "1",
        'How many workers a rollout restarts at a time: a number, or a share of them such as "25%".',
        'batch = "25%"',
    ),
    Setting(
        "reload", "canary", values.canary, "", "",
        "A path that each worker of a new version must answer with 2xx before it takes requests. A whole URL "
        "says for which host: what an app with a list of allowed hosts needs. Only for `app`.",
        'canary = "/healthz"',
    ),
    Setting(
        "reload", "canary_timeout", values.seconds(0.1), 5.0, "5",
        f"How long that answer may take. {_SECONDS}",
        "canary_timeout = 10",
    ),
    Setting(
        "reload", "stamp", values.path, "", "",
        "A file or link that each deploy changes. With it, a rollout that did not come to its end is "
        "continued by the next one: only workers that still run the old version are replaced.",
        'stamp = "/srv/mysite/REVISION"',
    ),
    Setting(
        "limits", "start", values.seconds(0.1), 60.0, "60",
        f"How long a worker may take until it is ready. {_SECONDS}",
        'start = "2min"',
    ),
    Setting(
        "limits", "drain", values.seconds(0), 30.0, "30",
        f"How long a worker that is to stop may take to finish what is in flight. {_SECONDS}",
        "drain = 10",
    ),
    Setting(
        "limits", "watchdog", values.seconds(0.1, off=True), None, "30 for `app`, none for `command`",
        f"How long a worker may be silent until systemd kills it as hung; false for never. {_SECONDS}",
        "watchdog = false",
    ),
    Setting(
        "limits", "concurrency", values.whole(1, 10**6, off=True, unlimited=0), 0, '"unlimited"',
        "How many requests and WebSockets a worker has in progress at most. While it has no room, new "
        "connections are for its siblings or wait in the kernel's queue, and requests on connections that it "
        "has already wait. A WSGI application is called once at a time in any case; there it limits the "
        "answers that are being streamed. Only for `app`.",
        "concurrency = 100",
    ),
    Setting(
        "limits", "head", values.seconds(0.1, off=True), 30.0, "30",
        "How long a client may take to send a request's head. Then its connection is closed, or up to a "
        "quarter later, with 408 where a part of the head has come; and sooner, the oldest first, where a "
        f"worker has more than 1024 such connections. false for any time. Only for `app`. {_SECONDS}",
        "head = 10",
    ),
    Setting(
        "limits", "pause", values.seconds(0.1, off=True), 60.0, "60",
        "How long a client may stop in the middle of a body that it sends or an answer that it takes. Then, "
        "or up to a quarter later, its connection is closed, with 408 where the answer has not begun. Not at "
        f"a unix socket. false for any time. Only for `app`. {_SECONDS}",
        'pause = "20s"',
    ),
    Setting(
        "limits", "requests", values.whole(1, 10**12, off=True), 0, "false",
        "After how many requests a worker is replaced, or up to a tenth sooner. Workers replace themselves, "
        "one at a time, draining as in a restart, and never during a rollout. Only for `app`.",
        "requests = 10000",
    ),
    Setting(
        "limits", "memory", values.size(values.SMALLEST_WORKER, values.LARGEST_WORKER, off=True), 0, "false",
        "At which resident size a worker is replaced, in the same way: bytes, or a size such as \"512M\" or "
        "\"2G\". Only for `app`.",
        'memory = "512M"',
    ),
    Setting(
        "limits", "lifetime", values.seconds(1, values.LONGEST_LIFETIME, off=True), 0.0, "false",
        "At which age a worker is replaced, in the same way, or up to a tenth sooner. Only for `app`. "
        f"{_SECONDS}",
        'lifetime = "1d"',
    ),
    Setting(
        "limits", "headers", values.size(values.SMALLEST_HEAD, values.LARGEST_HEAD), 64 << 10, '"64K"',
        "How large the head of a request may be, its request line and headers: bytes, or a size such as "
        "\"16K\". A larger one is answered with 431. Only for `app`.",
        'headers = "16K"',
    ),
    Setting(
        "limits", "body", values.size(values.SMALLEST_BODY, values.LARGEST_WORKER, off=True), 0, "false",
        "How large the body of a request may be: bytes, or a size such as \"10M\"; false for any size. A "
        "larger one is answered with 413, before the app is called where its length is known. Only for "
        "`app`.",
        'body = "10M"',
    ),
    Setting(
        "cluster", "bus", values.boolean, None, "true for `app`, false for `command`",
        "Whether workers can send each other messages. A `command` then gets one more socket, by the name "
        '"bus" (LISTEN_FDNAMES), and must look for its listeners by name too.',
        "bus = true",
    ),
    Setting(
        "cluster", "cache", values.size(4 << 20, 1 << 40), 64 << 20, '"64M"',
        "How large the cache may become that the workers share: bytes, or \"64M\", \"1G\". It is "
        "kept in memory, and takes none before it is used. What was set longest ago makes room; a value "
        "may take 1/64 of it.",
        'cache = "256M"',
    ),
    Setting(
        "cluster", "url", server_url, "", "",
        "The Redis or Valkey server through which the workers of several hosts act as one cluster: "
        "redis://HOST:PORT/DB, rediss:// for TLS (?ssl_ca_certs=/PATH for an authority of your own), "
        "or unix:///PATH. Its password is the credential cluster-password, never a part of the url. "
        "svc-cluster(7) says what then holds across hosts. It needs redis-py in the interpreter of `app`.",
        'url = "redis://10.0.0.1"',
    ),
    Setting(
        "cluster", "fallback", values.boolean, False, "false",
        "Whether each host uses a cache of its own while the server of `url` does not answer. Otherwise the "
        "calls of the cache then raise ServerAway.",
        'url = "redis://10.0.0.1"\nfallback = true',
    ),
    Setting(
        "credentials", ANY, values.credential, _OPEN_TABLE, "",
        "Secrets: a name, and the file that holds it, which only root needs to read. The app finds the "
        "content in $CREDENTIALS_DIRECTORY/NAME; no other user and no other app can read it.",
        'database-password = "/etc/mysite/database-password"',
        name=credential_name,
    ),
    Setting(
        "env", ANY, environment_value, _OPEN_TABLE, "",
        "Environment variables of the workers. true and false stand for the texts `true` and `false`. Every "
        "user of the host can read them: no place for secrets.",
        'DJANGO_SETTINGS_MODULE = "mysite.settings"',
        name=environment_name,
    ),
    Setting(
        "unit", ANY, directive, _OPEN_TABLE, "",
        "Directives for the [Unit] section of the workers, as systemd.unit(5) has them.",
        'After = "postgresql.service"',
        name=directive_name,
    ),
    Setting(
        "service", ANY, directive, _OPEN_TABLE, "",
        "Directives for the [Service] section of the workers, as systemd.service(5) and systemd.exec(5) have "
        "them. true and false become yes and no, a list repeats the directive, an empty string resets it.",
        'ReadWritePaths = ["/srv/mysite/media", "/srv/mysite/cache"]',
        name=directive_name,
    ),
    Setting(
        "socket", ANY, directive, _OPEN_TABLE, "",
        "Directives for the [Socket] section of the listeners, as systemd.socket(5) has them.",
        "Backlog = 4096",
        name=directive_name,
    ),
)  # fmt: skip

SECTIONS: tuple[str, ...] = tuple(dict.fromkeys(row.section for row in SETTINGS if row.section))
"""All sections, in the order of the manual."""

PASSED_THROUGH = ("unit", "service", "socket")
"""The sections that hold directives of systemd."""

BY_PATH: dict[tuple[str, str], Setting] = {(row.section, row.key): row for row in SETTINGS}
"""Rows by section and key."""
