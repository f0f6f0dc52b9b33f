"""What each setting takes, and what it says to everything else."""

import tomllib
from pathlib import Path

import pytest

from svc.app import App, Balance, Cluster, Family, Interface, Limits, Listen, Reload
from svc.config import AppFiles, ConfigError, load, warnings
from svc.config.problems import Problem
from svc.config.settings import SECTIONS, SETTINGS, Setting

SMALL = 'app = "site:app"\nlisten = ["127.0.0.1:8000"]\n'
PROGRAM = 'command = ["node", "server.js"]\nlisten = ["127.0.0.1:8000"]\n'


def files(folder: Path, text: str, name: str = "shop") -> AppFiles:
    """Write one app's file."""
    file = folder / f"{name}.toml"
    file.write_text(text)
    return AppFiles(name, file)


def accept(folder: Path, text: str) -> App:
    return load(files(folder, text))


def refuse(folder: Path, text: str, name: str = "shop") -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(files(folder, text, name))
    problems = list(caught.value.problems)
    assert all(p.what and p.cure for p in problems)
    assert all(len(str(p).splitlines()) == 1 for p in problems)
    return problems


def test_the_smallest_app_has_the_defaults_of_the_types(tmp_path: Path) -> None:
    app = accept(tmp_path, SMALL)
    assert app == App(
        "shop", tmp_path / "shop.toml", (Listen(Family.INET, "127.0.0.1", 8000),), app="site:app"
    )


def test_everything_at_once(tmp_path: Path) -> None:
    app = accept(
        tmp_path,
        """
        app = "my.site:make.app"
        interface = "wsgi"
        listen = ["0.0.0.0:80", "[0:0::1]:81", "unix:/run/shop/http.sock"]
        workers = 8
        directory = "/srv/shop 1/current"
        python = "/srv/shop/venv/bin/python"
        user = 1000
        wanted_by = ["a.target", "b@1.service", "a.target"]
        balance = { policy = "fair", listeners = 4 }
        reload = { surge = 0, batch = "25%" }
        limits = { start = "2min", drain = 0, watchdog = false }
        [env]
        TEXT = "a\\tb"
        NUMBER = 1
        SHARE = 0.5
        YES = true
        [unit]
        After = ["a.service", "b.service"]
        [service]
        ExecStartPre = ["", "/bin/true %i $HOME"]
        PrivateTmp = false
        Nice = -5
        Gone = []
        [socket]
        Backlog = 4096
        """,
    )
    assert app == App(
        "shop",
        tmp_path / "shop.toml",
        (
            Listen(Family.INET, "0.0.0.0", 80),
            Listen(Family.INET6, "::1", 81),
            Listen(Family.UNIX, path="/run/shop/http.sock"),
        ),
        app="my.site:make.app",
        interface=Interface.WSGI,
        workers=8,
        directory="/srv/shop 1/current",
        python="/srv/shop/venv/bin/python",
        user="1000",
        wanted_by=("a.target", "b@1.service"),
        balance=Balance("fair", 4),
        reload=Reload(0, "25%"),
        limits=Limits(120.0, 0.0, 0.0),
        env=(("TEXT", "a\tb"), ("NUMBER", "1"), ("SHARE", "0.5"), ("YES", "true")),
        unit=(("After", "a.service"), ("After", "b.service")),
        service=(
            ("ExecStartPre", ""),
            ("ExecStartPre", "/bin/true %i $HOME"),
            ("PrivateTmp", "no"),
            ("Nice", "-5"),
        ),
        socket=(("Backlog", "4096"),),
    )


def test_a_command(tmp_path: Path) -> None:
    app = accept(tmp_path, PROGRAM + "notify = true\nlimits.watchdog = 10\n")
    assert (app.command, app.notify, app.app, app.limits.watchdog) == (("node", "server.js"), True, "", 10.0)


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ('workers = "auto"', "workers", None),
        ("wanted_by = []", "wanted_by", ()),
        ('user = "www-data"', "user", "www-data"),
        ('user = "0"', "user", "0"),
        ("reload.batch = 3", "reload", Reload(batch=3)),
        ("reload.surge = 4", "reload", Reload(surge=4)),
        ("reload.canary = '/healthz?deep=1'", "reload", Reload(canary="/healthz?deep=1")),
        ("reload.canary = 'https://a.example:8443/x'", "reload", Reload(canary="https://a.example:8443/x")),
        ("reload.canary_timeout = '500ms'", "reload", Reload(canary_timeout=0.5)),
        ("reload.stamp = '/srv/REVISION'", "reload", Reload(stamp="/srv/REVISION")),
        ('balance.listeners = "per-worker"', "balance", Balance(listeners=0)),
        ('balance.listeners = "auto"', "balance", Balance()),
        ('limits.drain = "1min 30s"', "limits", Limits(drain=90)),
        ('limits.drain = "500ms"', "limits", Limits(drain=0.5)),
        ('limits.drain = "2h1.5s"', "limits", Limits(drain=7201.5)),
        ('limits.drain = "90"', "limits", Limits(drain=90)),
        ("limits.start = 0.1234567", "limits", Limits(start=0.123)),
        ("limits.watchdog = 0", "limits", Limits(watchdog=0)),
        ('limits.watchdog = "0s"', "limits", Limits(watchdog=0)),
        ("limits.drain = 86400", "limits", Limits(drain=86400)),
        ("limits.concurrency = 100", "limits", Limits(concurrency=100)),
        ('limits.concurrency = "unlimited"', "limits", Limits()),
        ("limits.concurrency = false", "limits", Limits()),
        ('limits.head = "10s"', "limits", Limits(head=10)),
        ("limits.head = false", "limits", Limits(head=0)),
        ('limits.pause = "20s"', "limits", Limits(pause=20)),
        ("limits.pause = false", "limits", Limits(pause=0)),
        ("limits.requests = 1", "limits", Limits(requests=1)),
        ("limits.requests = false", "limits", Limits()),
        ('limits.memory = "512M"', "limits", Limits(memory=2**29)),
        ('limits.memory = "2 G"', "limits", Limits(memory=2**31)),
        ('limits.memory = "1048576K"', "limits", Limits(memory=2**30)),
        ("limits.memory = 1000000000", "limits", Limits(memory=10**9)),
        ("limits.memory = false", "limits", Limits()),
        ("limits.memory = 0", "limits", Limits()),
        ('limits.start = "100000us"', "limits", Limits(start=0.1)),
        ('limits.lifetime = "30d"', "limits", Limits(lifetime=30 * 86400)),
        ("limits.lifetime = 0", "limits", Limits()),
        ('limits.headers = "16K"', "limits", Limits(headers=16 << 10)),
        ('limits.body = "10M"', "limits", Limits(body=10 << 20)),
        ("limits.body = false", "limits", Limits()),
        ('cluster.cache = "64M"', "cluster", Cluster()),
        ('cluster.cache = "2G"', "cluster", Cluster(cache=2 << 30)),
        ('cluster.cache = "4096K"', "cluster", Cluster(cache=4 << 20)),
        ("cluster.cache = 5000000", "cluster", Cluster(cache=5_000_000)),
    ],
)
def test_values_that_are_taken(tmp_path: Path, line: str, field: str, value: object) -> None:
    assert getattr(accept(tmp_path, SMALL + line), field) == value


LONG = "x" * (64 * 1024 + 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wokers = 4", "wokers: unknown key `wokers`; did you mean `workers`?"),
        ("Workers = 4", "unknown key `Workers`; did you mean `workers`?"),
        ("zzz = 4", "unknown key `zzz`; remove it"),
        ("[zzz]", "unknown section [zzz]; remove it; there are [balance], [reload]"),
        ("[limit]\ndrain = 1", "unknown section [limit]; did you mean [limits]?"),
        ("drain = 3", "`drain` belongs in [limits]; move it there"),
        ("[limits]\nworkers = 3", "`workers` belongs at the top of the file, above the first section"),
        ("[service]\nuser = 'x'", "`user` belongs at the top of the file"),
        ("[limits]\npolicy = 'fair'", "`policy` belongs in [balance]"),
        ('[limits]\n"*" = 1', "unknown key `*`"),
        ("limits = 3", "limits: 3 is not a section; write [limits]"),
        (
            "workers = 'many'",
            'workers: "many" is not a number; write a whole number from 1 to 1024, or "auto"',
        ),
        ("workers = true", "workers: true is not a number"),
        ("workers = 1.0", "workers: 1.0 is not a whole number"),
        ("workers = 0", "workers: 0 is out of range"),
        ("workers = 1025", "workers: 1025 is out of range"),
        ("workers = []", "workers: a list is not a number"),
        ("workers = 1979-05-27", "workers: 1979-05-27 is not a number"),
        ("[workers]", "workers: a table is not a number"),
        ("reload.surge = 65", "reload.surge: 65 is out of range; write a whole number from 0 to 64"),
        ("reload.canary = 'healthz'", 'reload.canary: "healthz" is no path of the app; write "/healthz"'),
        ("reload.canary = '/a b'", "is no path of the app"),
        ("reload.canary = 'http://a@b#c/'", "is no path of the app"),
        ("reload.stamp = 'REVISION'", "is not an absolute path"),
        ("reload.batch = 0", "reload.batch: 0 is no batch"),
        ("reload.batch = '0%'", 'reload.batch: "0%" is no batch'),
        ("reload.batch = '101%'", "is no batch"),
        ("limits.memory = 512", "limits.memory: 512 is out of range; write a size from 16M to 1024T"),
        ("limits.memory = '2000T'", "is out of range"),
        ("limits.memory = '512MB'", '"512MB" is not a size; write a size from 16M to 1024T'),
        ("limits.memory = '1.5G'", "is not a size"),
        ("limits.memory = true", "limits.memory: true is not a size"),
        ("limits.memory = 1e9", "is not a size"),
        (
            "limits.concurrency = -1",
            'limits.concurrency: -1 is out of range; write a whole number from 1 to 1000000, or "unlimited", '
            "or false for none",
        ),
        ("limits.concurrency = true", "limits.concurrency: true is not a number"),
        ("limits.head = 0.01", "limits.head: 0.01 is out of range; write a time from 0.1 s to 24 h"),
        ("limits.requests = -1", "limits.requests: -1 is out of range"),
        ("limits.requests = true", "limits.requests: true is not a number"),
        ("limits.requests = '10k'", "is not a number"),
        ("limits.lifetime = 0.5", "0.5 is out of range; write a time from 1 s to 365 d, or false for none"),
        ("limits.lifetime = '366d'", "is out of range"),
        ("limits.lifetime = true", "limits.lifetime: true is not a time"),
        ("limits.headers = false", "false is not a size; write a size from 4K to 1M, such as"),
        ("limits.headers = '2M'", '"2M" is out of range'),
        ("limits.body = 10", "10 is out of range; write a size from 1K to 1024T, such as"),
        ("cluster.url = 'x'", 'cluster.url: "x" is no server; write "redis://HOST"'),
        ("cluster.url = 'http://a'", 'cluster.url: "http://a" is no server'),
        ("cluster.url = 'redis://'", "is no server"),
        ("cluster.url = 'redis://a:99999'", "cluster.url: it is no URL"),
        ("cluster.url = 'redis://a/x'", "is no server"),
        ("cluster.url = 'redis://a b'", "is no server"),
        ("cluster.url = 'redis://a#b'", "is no server"),
        ("cluster.url = 'unix://run/redis'", "has a relative path"),
        (
            "cluster.url = 'redis://a?socket_timeout=9'",
            '?"socket_timeout" is nothing that redis:// takes here',
        ),
        ("cluster.url = 'redis://a?ssl_ca_certs=/x'", "write only db, or remove it"),
        ("cluster.url = 'rediss://a?ssl_ca_certs=x'", '"x" is not an absolute path'),
        ("cluster.fallback = true", "cluster.fallback: has a meaning only with `url`"),
        ("cluster.cache = '4095K'", 'cluster.cache: "4095K" is out of range; write a size from 4M to 1T'),
        ("cluster.cache = '2T'", 'is out of range; write a size from 4M to 1T, such as "64M" or "1G"'),
        ("cluster.cache = '64MB'", 'cluster.cache: "64MB" is not a size'),
        ("cluster.cache = '1.5G'", "is not a size"),
        ("cluster.cache = -1", "is out of range"),
        ("cluster.cache = true", "cluster.cache: true is not a size"),
        ("cluster.cache = 1e9", "is not a size"),
        ("[credentials]\nA = 'x'", 'credentials.A: "x" is not an absolute path'),
        ("[credentials]\nA = '/etc/../x'", 'credentials.A: "/etc/../x" is no plain path'),
        ("[credentials]\nA = '/etc//x'", 'credentials.A: "/etc//x" is no plain path'),
        ("[credentials]\nA = '/etc/x/'", 'credentials.A: "/etc/x/" is no plain path'),
        ("[credentials]\n'A:B' = '/x'", '"A:B" cannot name a credential; use letters, digits'),
        ("[credentials]\n'..' = '/x'", '".." cannot name a credential'),
        ("balance.policy = 'best'", 'balance.policy: "best" is not known here; write "fair"'),
        ("balance.listeners = 65", "balance.listeners: 65 is out of range"),
        ("interface = 'cgi'", 'write "auto" or "asgi" or "wsgi"'),
        ("limits.start = 0", "limits.start: 0 is out of range; write a time from 0.1 s to 24 h"),
        ("limits.start = nan", "limits.start: nan is out of range"),
        ("limits.drain = inf", "limits.drain: inf is out of range"),
        ("limits.drain = -1", "limits.drain: -1 is out of range"),
        ("limits.drain = true", "limits.drain: true is not a time"),
        ("limits.drain = false", "limits.drain: false is not a time"),
        ("limits.drain = '30 parsecs'", "is not a time"),
        ("limits.drain = ''", "is not a time"),
        ("limits.drain = '30sx'", "is not a time"),
        ("limits.drain = '2d'", "is out of range"),
        ("limits.watchdog = true", "limits.watchdog: true is not a time"),
        ("limits.watchdog = 0.05", "or false for none"),
        ("directory = 'srv'", 'directory: "srv" is not an absolute path'),
        ("directory = '/srv/ '", "ends in a blank or a backslash"),
        ("directory = '/srv\\'", "ends in a blank or a backslash"),
        ('directory = "/srv\\n/x"', r'"/srv\n/x" holds a line end or another control character'),
        ('directory = "/srv\\tx"', "control character"),
        ('directory = "/srv\\u0085x"', "control character"),
        (f"directory = '/{'x' * 256}'", "is longer than a path can be"),
        (f"directory = '/{LONG}'", "is longer than 64 KiB"),
        ("directory = 1", "directory: 1 is not a string"),
        ("python = 'python3'", "is not an absolute path"),
        ("python = '/venv/bin/'", "is not a file"),
        ("python = '/ve$v/bin/python'", "holds a dollar sign, quote or backslash"),
        ("user = ''", 'user: "" is not a user'),
        ("directory = '/srv/a/../b'", "has a `..`, which systemd does not take; write the path without it"),
        ("[unit]\nStartLimitIntervalSec = '1h'", "would make systemd close the listeners at that limit"),
        ("[service]\nStartLimitInterval = 10", "would make systemd close the listeners at that limit"),
        ("user = 'a b'", "is not a user"),
        ("user = '-x'", "is not a user"),
        ("user = -1", "is not a user"),
        ("user = 65535", "is not a user"),
        ("user = 4294967295", "is not a user"),
        ("user = '01'", "is not a user"),
        ("user = true", "user: true is not a string"),
        ("wanted_by = 'multi-user.target'", "is not a list"),
        ("wanted_by = ['multi-user']", '"multi-user" is not the name of a unit'),
        ("wanted_by = ['../x.target']", "is not the name of a unit"),
        ("wanted_by = ['x@.target']", "is not the name of a unit"),
        ("notify = true", "notify: has a meaning only with `command`"),
        ("balance.listeners = 3\n[env]\n[limits]\ndrain = ''", "limits.drain"),
        ("workers = 2\nbalance.listeners = 3", "3 listeners for 2 workers"),
        ("[env]\n1A = 'x'", '"1A" cannot name an environment variable'),
        ("[env]\nLISTEN_PID = '1'", "`LISTEN_PID` is set by systemd"),
        ("[env]\nNOTIFY_SOCKET = '1'", "`NOTIFY_SOCKET` is set by systemd"),
        ("[env]\nWATCHDOG_USEC = '1'", "`WATCHDOG_USEC` is set by systemd"),
        ("[env]\nA = ['1']", "env.A: a list cannot be the value"),
        ('[env]\nA = "1\\n2"', "control character"),
        ("[env]\nA = inf", "has no plain decimal form"),
        ("[service]\n'A=B' = 'x'", '"A=B" cannot name a directive'),
        ("[service]\n\"A\\nB\" = 'x'", r'"A\nB" cannot name a directive'),
        ('[service]\nA = "1\\rB=2"', "control character"),
        ("[service]\nA = 'x\\'", "ends in a backslash, which joins the next line"),
        ("[service]\nA = 'x\\ '", "ends in a backslash, which joins the next line"),
        ("[service]\nA = [['x']]", "service.A: a list cannot be the value of a directive"),
        ("[service]\nA = {}", "a table cannot be the value of a directive"),
        ("[service]\nA = 1e99", "has no plain decimal form"),
        ("[service]\nA = 1979-05-27", "cannot be the value of a directive"),
    ],
)
def test_values_that_are_refused(tmp_path: Path, line: str, said: str) -> None:
    problems = refuse(tmp_path, SMALL + line)
    assert said in "\n".join(map(str, problems))
    # A missing section names no line; all that is there has one.
    assert all(p.line and p.line > 2 for p in problems)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen = '0.0.0.0:1'", "says nothing to run; write app ="),
        ("app = 'a:b'", 'says nowhere to listen; write listen = ["0.0.0.0:8000"]'),
        (SMALL + "command = ['x']", "command: stands beside `app`; remove one of the two"),
        (PROGRAM + "interface = 'asgi'", "interface: has a meaning only with `app`"),
        (PROGRAM + "python = '/x'", "python: has a meaning only with `app`"),
        (PROGRAM + "limits.concurrency = 3", "limits.concurrency: has a meaning only with `app`; remove it"),
        (PROGRAM + "limits.head = 3", "limits.head: has a meaning only with `app`; remove it"),
        (PROGRAM + "limits.pause = 3", "limits.pause: has a meaning only with `app`; remove it"),
        (PROGRAM + "limits.requests = 3", "limits.requests: has a meaning only with `app`; remove it"),
        (PROGRAM + "limits.memory = '1G'", "MemoryMax in [service] is a limit that systemd holds"),
        (PROGRAM + "limits.headers = '8K'", "limits.headers: has a meaning only with `app`"),
        (PROGRAM + "limits.body = '8M'", "limits.body: has a meaning only with `app`"),
        (PROGRAM + "limits.lifetime = '1d'", "RuntimeMaxSec in [service] is a limit that systemd holds"),
        (PROGRAM + "balance.listeners = 2", "balance.listeners: has a meaning only with `app`; remove it"),
        (PROGRAM + "balance.listeners = 'per-worker'", "remove it: a `command` has one"),
        (PROGRAM + "limits.watchdog = 3", "limits.watchdog: would kill a `command` that does not notify"),
        (
            PROGRAM + "balance.policy = 'sticky-ip'",
            'balance.policy: "sticky-ip" has a meaning only with `app`; remove it',
        ),
        (PROGRAM + "balance.policy = 'sticky-cookie'", '"sticky-cookie" has a meaning only with `app`'),
        (
            SMALL.replace("]", ", 'unix:/run/a']") + "balance.policy = 'sticky-ip'",
            'listen: clients of unix:/run/a have no address for policy = "sticky-ip"; remove it, or write',
        ),
        (
            SMALL + "balance = {policy = 'sticky-ip', listeners = 1}",
            'balance.listeners: policy = "sticky-ip" has one listener for each worker; write "per-worker"',
        ),
        ("app = 'main.py'\nlisten = '0.0.0.0:1'", '"main.py" does not name an application'),
        ("app = 'main:'\nlisten = '0.0.0.0:1'", "does not name an application"),
        ("app = 'a:b()'\nlisten = '0.0.0.0:1'", "does not name an application"),
        ("app = 'a..b:c'\nlisten = '0.0.0.0:1'", "does not name an application"),
        ("app = 'a:b:c'\nlisten = '0.0.0.0:1'", "does not name an application"),
        ("app = '--help:c'\nlisten = '0.0.0.0:1'", "does not name an application"),
    ],
)
def test_rules_of_an_app(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = refuse(tmp_path, text + "\n# never empty")
    assert said in str(problem)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("[]", "the command is empty"),
        ("['']", "is not a program"),
        ("['-x']", "systemd reads its first character as a prefix"),
        ("['@x']", "as a prefix"),
        ("['bin/node']", "is a relative path"),
        ("['/bin/$SHELL']", "holds a dollar sign"),
        ("['/bin/']", "is not a file"),
        ("'node server.js'", "is not a list"),
        ("['node', 1, true]", "1 is not a string"),
        ('["node", "a\\u0000b"]', "control character"),
        (f"['node', {', '.join(5 * [repr('x' * 60_000)])}]", "longer than 256 KiB"),
    ],
)
def test_commands_that_are_refused(tmp_path: Path, words: str, said: str) -> None:
    problems = refuse(tmp_path, f"command = {words}\nlisten = '0.0.0.0:1'")
    assert said in str(problems[0])
    assert {p.key for p in problems} == {"command"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("[]", "the list is empty"),
        ("8000", '8000 does not say on which address; write "0.0.0.0:8000"'),
        ("70000", '70000 does not say on which address; write "0.0.0.0:8000"'),
        ("true", "true is not a string"),
        ("'8000'", 'write "0.0.0.0:8000" (every address) or "127.0.0.1:8000" (this host only)'),
        ("':8000'", 'write "0.0.0.0:8000"'),
        ("'*:8000'", 'write "0.0.0.0:8000"'),
        ("'localhost:8000'", 'write "127.0.0.1:8000" or "[::1]:8000"'),
        ("'example.org:80'", '"example.org" is not an IP address'),
        ("'127.0.0.1'", 'has no port; write "127.0.0.1:8000"'),
        ("'127.0.0.1:'", 'has no port; write "127.0.0.1:8000"'),
        ("'127.1:80'", '"127.1" is not an IP address'),
        ("'127.0.0.1:0'", "does not end in a port"),
        ("'127.0.0.1:65536'", "does not end in a port"),
        ("'127.0.0.1:8٠'", "does not end in a port"),
        ("'127.0.0.1:http'", "does not end in a port"),
        ("'::1'", 'write "[::1]:8000"'),
        ("'::1:80'", 'write "[::1]:80"'),
        ("'[::1]'", 'has no port; write "[::1]:8000"'),
        ("'fe80::1%eth0:80'", "is not an IP address"),
        ("'1:2:3:4:5:6:7:8:80'", 'wants brackets; write "[1:2:3:4:5:6:7:8]:80"'),
        ("'http://0.0.0.0:80'", "is a URL"),
        ("'/run/x.sock'", 'write "unix:/run/…"'),
        ("'unix:x.sock'", "is not an absolute path"),
        ("'unix:/'", "is not the plain path of a file"),
        ("'unix:/run//x'", 'write it as "unix:/run/x"'),
        ("'unix://run/x'", "is a URL"),
        (f"'unix:/{'x' * 107}'", "longer than 107 bytes"),
        ("['0.0.0.0:1', '0.0.0.0:1']", '"0.0.0.0:1" is there twice; remove one'),
        ("['[::1]:1', '[0::1]:1']", '"[::1]:1" is there twice'),
    ],
)
def test_addresses_that_are_refused(tmp_path: Path, address: str, said: str) -> None:
    (problem,) = refuse(tmp_path, f"app = 'a:b'\nlisten = {address}")
    assert said in str(problem)
    assert (problem.key, problem.line) == ("listen", 2)


def test_the_longest_path_of_a_socket(tmp_path: Path) -> None:
    path = "/" + 106 * "x"
    (listen,) = accept(tmp_path, f"app = 'a:b'\nlisten = 'unix:{path}'").listen
    assert listen == Listen(Family.UNIX, path=path)


def test_all_errors_at_once(tmp_path: Path) -> None:
    text = "app = 1\nlisten = ['x', 'y']\nzzz = 1\nworkers = 0\n"
    text += "[limits]\nstart = ''\ndrain = ''\n[env]\n'A B' = 1\n"
    assert [p.line for p in refuse(tmp_path, text)] == [1, 2, 2, 3, 4, 6, 7, 9]


@pytest.mark.parametrize(
    "name",
    [
        "svc",
        "a b",
        "-a",
        ".a",
        "a@b",
        "ä",
        "a" * 65,
        "a\nb",
        "x.service",
        "a.b.target",
        "x.slice",
        "a%i",
        "a-bus",
        "a-wake",
        "a.toml",
        "a.toml.d",
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    (problem,) = refuse(tmp_path, SMALL, name)
    assert "rename the file" in problem.cure


@pytest.mark.parametrize("name", ["a", "0", "basic", "my-site.org", "A_b", "x.services"])
def test_names_that_are_taken(tmp_path: Path, name: str) -> None:
    assert load(files(tmp_path, SMALL, name)).name == name


def test_a_users_app_has_no_user(tmp_path: Path) -> None:
    own = files(tmp_path, SMALL + "user = 'ada'")
    with pytest.raises(ConfigError, match="has a meaning only for apps of the system"):
        load(AppFiles(own.name, own.main, user_scope=True))


def test_secrets_in_the_environment_are_warned_of(tmp_path: Path) -> None:
    text = (
        SMALL + "[env]\nDB_PASSWORD = 'x'\nKEYBOARD = 'de'\nAPI_KEY = 'y'\nauth_token = 'z'\nMONKEY = '1'\n"
        "KEY = 'k'\nDATABASE_URL = 'postgres://site:pass@host/db'\nCACHE = 'redis://host:6379/0'\n"
    )
    own = files(tmp_path, text)
    assert load(own).env[0] == ("DB_PASSWORD", "x")
    found = warnings(own)
    assert [(p.line, p.key) for p in found] == [
        (4, "env.DB_PASSWORD"),
        (6, "env.API_KEY"),
        (7, "env.auth_token"),
        (9, "env.KEY"),
        (10, "env.DATABASE_URL"),
    ]
    assert "[credentials]" in found[0].cure
    assert warnings(files(tmp_path, "env = 1")) == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://:geheim@a",
        "rediss://user:geheim@a:6380/1",
        "unix://user:geheim@/run/x",
        "redis://a?password=geheim",
        "redis://:ge/heim@a",
        "redis://:ge[heim@a",
        "redis://user:ge#heim@a",
        "redis://user:1/heim@a",
        "redis:user:geheim@a",
        "unix:user:geheim@a",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    (problem,) = refuse(tmp_path, f"{SMALL}[cluster]\nurl = '{url}'")
    assert "heim" not in str(problem)


def test_a_password_in_a_url_is_told_where_it_goes(tmp_path: Path) -> None:
    (problem,) = refuse(tmp_path, f"{SMALL}[cluster]\nurl = 'redis://:geheim@a'")
    assert '[credentials] cluster-password = "/PATH"' in problem.cure


@pytest.mark.parametrize(
    "url",
    [
        "redis://a",
        "redis://user@[::1]:6380/2",
        "rediss://a?ssl_ca_certs=/etc/ca.pem&db=1",
        "unix:///run/redis/redis.sock?db=1",
        "unix://user@/run/redis.sock",
    ],
)
def test_a_url_is_taken_as_it_stands(tmp_path: Path, url: str) -> None:
    assert accept(tmp_path, f"{SMALL}[cluster]\nurl = '{url}'").cluster.url == url


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.path)
def test_each_example_of_the_manual_is_right(tmp_path: Path, row: Setting) -> None:
    assert row.help.endswith(".")
    assert row.example.isascii()
    top = PROGRAM if row.key in {"command", "notify"} else SMALL
    kept = "".join(
        line + "\n" for line in top.splitlines() if not line.startswith(f"{row.key} ") or row.section
    )
    text = kept + (f"[{row.section}]\n" if row.section else "") + row.example
    tomllib.loads(text)
    if row.later:
        assert f"comes with a later version of svc ({row.later})" in str(refuse(tmp_path, text)[0])
    else:
        accept(tmp_path, text)


def test_the_order_of_the_table_groups_sections() -> None:
    order = [row.section for row in SETTINGS]
    assert list(dict.fromkeys(order)) == ["", *SECTIONS]
    assert order == sorted(order, key=["", *SECTIONS].index)
