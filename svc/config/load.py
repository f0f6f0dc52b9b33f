"""Files → `App`: the strict reading of an app's configuration."""

import re
from collections.abc import Iterator

from svc.app import STICKY_COOKIE, STICKY_IP, App, Balance, Cluster, Family, Limits, Reload
from svc.config.document import Document, Key, read
from svc.config.problems import ConfigError, Problem, show
from svc.config.search import AppFiles
from svc.config.settings import ANY, BY_PATH, PASSED_THROUGH, SECTIONS, SETTINGS, Setting
from svc.config.values import UNIT_TYPES, Invalid
from svc.folders import APP_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESERVED = ("svc",)
"""Names that no app may have: svc's own units go by them."""

BUS, WAKE = "-bus", "-wake"
"""What ends the names of an app's further units: those that hold its messages, and those that wake it."""

_SECRET = r"(?i)PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(^|_)KEY$|API_?KEY"
_SECRET_IN_URL = r"://[^/@\s]*:[^/@\s]+@"  # postgres://site:password@host


_START_LIMITS = (
    ("unit", "StartLimitIntervalSec"),
    ("unit", "StartLimitInterval"),
    ("service", "StartLimitInterval"),
)
"""systemd.unit(5), with what it was called before; see systemd.socket(5) for what it does to sockets."""


def load(files: AppFiles) -> App:
    """Read, merge and check the files of one app.

    Raises ConfigError with all that is wrong with them, in the order of the files and lines.
    """
    document = read(files.main, files.dropins)
    problems = [*_name_problems(files), *files.broken, *document.broken]
    values: dict[tuple[str, str], Any] = {}
    for key, row in _rows(document, problems):
        try:
            values[row.section, key[-1]] = _parsed(row, key[-1], _at(document, key))
        except Invalid as error:
            problems += [document.problem(key, fault.what, fault.cure) for fault in error.faults]
    # With a file missing, what the app as a whole lacks is not known.
    if not document.broken and not files.broken:
        problems += [document.problem(*rule) for rule in _rules(document.values, values, files)]
    if problems:
        order = [files.main, *files.dropins, *(problem.file for problem in files.broken)]
        raise ConfigError(*sorted(problems, key=lambda p: (order.index(p.file), p.line or 0)))
    return _build(files, values)


def warnings(files: AppFiles) -> list[Problem]:
    """Return what is allowed and yet unwise: secrets in [env], which all users can read in the units."""
    document = read(files.main, files.dropins)
    table = document.values.get("env")
    return [
        document.problem(
            ("env", name),
            "looks like a secret, and every user of this host can read the environment in a unit",
            "keep it in a file that only root can read, and name that file in [credentials]",
        )
        for name, value in (table.items() if isinstance(table, dict) else ())
        if re.search(_SECRET, name) or re.search(_SECRET_IN_URL, str(value))
    ]


def _at(document: Document, key: Key) -> object:
    value: Any = document.values
    for part in key:
        value = value[part]
    return value


def _name_problems(files: AppFiles) -> Iterator[Problem]:
    """Yield what is wrong with the name, which units take on."""
    name = files.name

    def problem(what: str, cure: str) -> Problem:
        return Problem(files.main, None, "", what, cure)

    if not re.fullmatch(APP_NAME, name):
        yield problem(
            f"{show(name)} cannot name an app",
            "rename the file: at most 64 letters, digits, and _ . - after the first",
        )
    elif name.endswith(tuple(f".{kind}" for kind in UNIT_TYPES)):
        yield problem(
            f"{show(name)} ends like a unit's name",
            f"rename the file: {name.rpartition('.')[0]}.toml for instance",
        )
    elif name.endswith((".toml", ".toml.d")):
        # Its folder would be /run/svc/NAME.toml, where app files (and drop-ins) are looked for.
        yield problem(
            f"{show(name)} ends like an app file's name", "rename the file: NAME.toml, with one ending"
        )
    elif name.endswith((BUS, WAKE)):
        whose = name.removesuffix(BUS).removesuffix(WAKE)
        what = "messages to workers of" if name.endswith(BUS) else "what wakes"
        yield problem(
            f"{show(name)} ends like the units of {what} {show(whose)}",
            f"rename the file: {whose}-app.toml for instance",
        )
    elif name in RESERVED:
        yield problem(f"{show(name)} is the name of svc's own units", "rename the file")


def _rows(document: Document, problems: list[Problem]) -> Iterator[tuple[Key, Setting]]:
    """Yield each key of the document that the table knows, and report the others."""
    for name, value in document.values.items():
        if name not in SECTIONS:
            if row := BY_PATH.get(("", name)):
                yield (name,), row
            else:
                problems.append(document.problem((name,), *_unknown("", name, isinstance(value, dict))))
        elif not isinstance(value, dict):
            what = f"{show(value)} is not a section"
            problems.append(
                document.problem((name,), what, f"write [{name}], and its keys on the lines below")
            )
        else:
            for key in value:
                if row := _row_of(name, key):
                    yield (name, key), row
                else:
                    problems.append(document.problem((name, key), *_unknown(name, key, False)))


def _row_of(section: str, key: str) -> Setting | None:
    if row := BY_PATH.get((section, key)):
        return row if key != ANY else None
    # A key of the top of the file, written below a header that takes any directive. No directive
    # is in lower case, so nothing of systemd's is lost.
    if section in PASSED_THROUGH and ("", key) in BY_PATH:
        return None
    return BY_PATH.get((section, ANY))


def _unknown(section: str, key: str, is_table: bool) -> tuple[str, str]:
    """Return what to say about an unknown key: where it belongs, or what it may stand for."""
    from difflib import get_close_matches  # dear, and only needed here

    if is_table and not section:
        near = get_close_matches(key, SECTIONS, 1)
        there = ", ".join(f"[{name}]" for name in SECTIONS)
        return (
            f"unknown section [{key}]",
            f"did you mean [{near[0]}]?" if near else f"remove it; there are {there}",
        )
    homes = [row.section for row in SETTINGS if row.key == key != ANY and row.section != section]
    if homes:
        where = f"in [{homes[0]}]" if homes[0] else "at the top of the file, above the first section"
        return f"`{key}` belongs {where}", "move it there"
    known = [row.key for row in SETTINGS if row.section == section]
    near = get_close_matches(key, known, 1) or get_close_matches(key.lower(), known, 1)
    return (
        f"unknown key `{key}`",
        f"did you mean `{near[0]}`?" if near else "remove it; svc.toml(5) has all keys",
    )


def _parsed(row: Setting, key: str, value: object) -> object:
    if row.later:
        raise Invalid(f"`{key}` comes with a later version of svc ({row.later})", "remove it")
    if row.name:
        row.name(key)
    return row.parse(value)


def _rules(
    given: dict[str, object], values: "dict[tuple[str, str], Any]", files: AppFiles
) -> Iterator[tuple[Key, str, str]]:
    """Yield what settings say together. `given` are those that are there, `values` those that are valid."""
    if "app" in given and "command" in given:
        yield ("command",), "stands beside `app`", "remove one of the two"
    elif "app" not in given and "command" not in given:
        yield (
            (),
            "says nothing to run",
            'write app = "package.module:attribute" or command = ["program", "argument"]',
        )
    elif "command" in given:
        yield from _command_rules(given, values)
    elif "notify" in given:
        yield ("notify",), "has a meaning only with `command`", "remove it: a Python worker always notifies"
    if "listen" not in given:
        yield (), "says nowhere to listen", 'write listen = ["0.0.0.0:8000"]'
    workers, listeners = values.get(("", "workers")), values.get(("balance", "listeners"))
    if workers and listeners and listeners > max(1, workers):
        yield (
            ("balance", "listeners"),
            f"{listeners} listeners for {workers} workers: some would have nobody to accept",
            f"write at most {workers}",
        )
    yield from _policy_rules(given, values)
    if values.get(("cluster", "fallback")) and not values.get(("cluster", "url")):
        yield ("cluster", "fallback"), "has a meaning only with `url`", "write `url`, or remove it"
    for section, key in _START_LIMITS:
        table = given.get(section)
        if isinstance(table, dict) and table.get(key, 0) not in (0, "0"):
            yield (section, key), "would make systemd close the listeners at that limit", "remove it"
    if files.user_scope and "user" in given:
        yield ("user",), "has a meaning only for apps of the system", "remove it: the app runs as you"


def _command_rules(
    given: dict[str, object], values: "dict[tuple[str, str], Any]"
) -> Iterator[tuple[Key, str, str]]:
    """Yield what only a worker of svc can do, not any program."""
    for key in ("interface", "python"):
        if key in given:
            yield (key,), "has a meaning only with `app`", "remove it"
    for section, name, instead in (
        ("reload", "canary", "with notify = true, let the program check itself before it says READY=1"),
        ("limits", "concurrency", "let the program limit itself"),
        ("limits", "head", "let the program watch its clients"),
        ("limits", "pause", "let the program watch its clients"),
        ("limits", "requests", "let the program count"),
        ("limits", "memory", "MemoryMax in [service] is a limit that systemd holds"),
        ("limits", "lifetime", "RuntimeMaxSec in [service] is a limit that systemd holds"),
        ("limits", "headers", "let the program limit them"),
        ("limits", "body", "let the program limit it"),
    ):
        if values.get((section, name)):
            yield (section, name), "has a meaning only with `app`", f"remove it; {instead}"
    if values.get(("balance", "listeners")) not in (None, 1):
        # Each worker is handed all of them: a program that takes file descriptor 3 and leaves the others lets
        # the connections wait for ever that the kernel puts there.
        yield ("balance", "listeners"), "has a meaning only with `app`", "remove it: a `command` has one"
    if values.get(("limits", "watchdog")) and not values.get(("", "notify")):
        yield (
            ("limits", "watchdog"),
            "would kill a `command` that does not notify",
            "write notify = true, or remove it",
        )


def _policy_rules(
    given: dict[str, object], values: "dict[tuple[str, str], Any]"
) -> Iterator[tuple[Key, str, str]]:
    """Yield what a policy cannot do."""
    policy = values.get(("balance", "policy"))
    if "command" in given and policy in (STICKY_IP, STICKY_COOKIE):
        yield ("balance", "policy"), f"{show(policy)} has a meaning only with `app`", "remove it"
    if policy != STICKY_IP:
        return
    paths = [str(one) for one in values.get(("", "listen"), ()) if one.family is Family.UNIX]
    if paths:
        yield (
            ("listen",),
            f"clients of {', '.join(paths)} have no address for policy = {show(policy)}",
            f'remove {"it" if len(paths) == 1 else "them"}, or write policy = "fair"',
        )
    if values.get(("balance", "listeners")):
        yield (
            ("balance", "listeners"),
            f"policy = {show(policy)} has one listener for each worker",
            'write "per-worker", or remove it',
        )


def _build(files: AppFiles, values: "dict[tuple[str, str], Any]") -> App:
    fields: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS)}
    for row in SETTINGS:
        if row.key != ANY and not row.later:
            fields[row.section][row.key] = values.get((row.section, row.key), row.default)
    for (section, key), value in values.items():
        if (section, ANY) in BY_PATH:
            fields[section][key] = value

    def lines(section: str) -> tuple[tuple[str, str], ...]:
        return tuple((key, line) for key, found in fields[section].items() for line in found)

    return App(
        name=files.name,
        source=files.main,
        **fields[""],
        balance=Balance(**fields["balance"]),
        reload=Reload(**fields["reload"]),
        limits=Limits(**fields["limits"]),
        cluster=Cluster(**fields["cluster"]),
        env=tuple(fields["env"].items()),
        credentials=tuple(fields["credentials"].items()),
        unit=lines("unit"),
        service=lines("service"),
        socket=lines("socket"),
    )
