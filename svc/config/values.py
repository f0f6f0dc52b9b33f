"""One value of a configuration file → the value that svc works with.

Each parser takes what tomllib made of a value, and returns what `svc.app` wants or raises
`Invalid` with what is wrong and its cure. What passes here is safe in its place in a unit.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from svc.config.problems import show
from svc.units.escape import has_control

LONGEST = 64 * 1024
"""Bytes of UTF-8 that one value may have. A line of a unit may have 1 MiB, after escaping."""

LONGEST_COMMAND = 256 * 1024
"""Bytes that all arguments of a command may have together: escaped, they still fit into one line."""

LONGEST_SPAN = 86400.0
"""Seconds that a time limit may have: a day."""

LONGEST_LIFETIME = 365 * 86400.0
"""Seconds that a worker may live at most, where it has a limit."""

SMALLEST_WORKER = 16 * 2**20
"""Bytes. Python with a web server is larger than this: whoever writes less has forgotten the unit."""

LARGEST_WORKER = 2**50
"""Bytes, more than any host has."""

SMALLEST_HEAD = 4 * 2**10
"""Bytes. Browsers with a few cookies send more than a smaller limit would take."""

LARGEST_HEAD = 2**20
"""Bytes that the head of a request may have at the most: a worker keeps them in memory."""

SMALLEST_BODY = 2**10
"""Bytes. Whoever writes less has forgotten the unit."""

Parser = Callable[[object], object]

UNIT_TYPES = (
    "service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope",
)  # fmt: skip
# Patterns are compiled when first used: most apps need few of them, and each costs the boot a while.
_UNIT_NAME = rf"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]+)?\.({'|'.join(UNIT_TYPES)})"
_USER_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,30}"
_UNITS = {
    "us": 1e-6,
    "ms": 1e-3,
    "": 1,
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "hr": 3600,
    "d": 86400,
}
_SPAN = rf"([0-9]{{1,12}}(?:\.[0-9]{{1,12}})?)[ ]*({'|'.join(sorted(_UNITS, reverse=True))})(?![a-z])[ ]*"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value, and the cure."""

    what: str
    cure: str


class Invalid(Exception):
    """A value that cannot be used. A list may have several faults."""

    def __init__(self, what: str, cure: str, more: tuple[Fault, ...] = ()) -> None:
        super().__init__(what, cure)
        self.faults = (Fault(what, cure), *more)


def string(value: object, *, tab: bool = False) -> str:
    """Return a string that fits into one line of a unit; `tab` allows tabs."""
    if not isinstance(value, str):
        raise Invalid(f"{show(value)} is not a string", 'write it between quotes: "…"')
    if has_control(value, tab=tab):
        raise Invalid(
            f"{show(value)} holds a line end or another control character, or a noncharacter",
            "remove it: a unit cannot hold it",
        )
    if len(value.encode()) > LONGEST:
        raise Invalid(
            f"{show(value)} is longer than {LONGEST // 1024} KiB", "put it into a file that the app reads"
        )
    return value


def each(value: object, parse: Callable[[object], str]) -> tuple[str, ...]:
    """Return a list's values, each gone through `parse`; the faults of all are raised together."""
    if not isinstance(value, list):
        raise Invalid(f"{show(value)} is not a list", 'write it between brackets: ["…", "…"]')
    done: list[str] = []
    faults: list[Fault] = []
    for item in value:
        try:
            done.append(parse(item))
        except Invalid as error:
            faults.extend(error.faults)
    if faults:
        raise Invalid(faults[0].what, faults[0].cure, tuple(faults[1:]))
    return tuple(done)


def boolean(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise Invalid(f"{show(value)} is neither true nor false", "write true or false, without quotes")
    return value


def choice(*words: str) -> Callable[[object], str]:
    """Make a parser that takes one of `words`."""
    cure = "write " + " or ".join(f'"{word}"' for word in words)

    def parse(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise Invalid(f"{show(value)} is not known here", cure)

    return parse


def whole(low: int, high: int, *, off: bool = False, **words: int | None) -> Callable[[object], int | None]:
    """Make a parser for a whole number from `low` to `high`, or one of `words` (`_` in a name is `-`).

    With `off`, 0 and false stand for none.
    """
    names = {name.replace("_", "-"): number for name, number in words.items()}
    allowed = f"a whole number from {low} to {high}" if low + 1 < high else f"{low} or {high}"
    cure = f"write {allowed}" + "".join(f', or "{name}"' for name in names)
    cure += ", or false for none" if off else ""

    def parse(value: object) -> int | None:
        if off and _is_off(value):
            return 0
        if isinstance(value, str) and value in names:
            return names[value]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Invalid(f"{show(value)} is not a number", cure)
        if not isinstance(value, int):
            raise Invalid(f"{show(value)} is not a whole number", cure)
        if not low <= value <= high:
            raise Invalid(f"{show(value)} is out of range", cure)
        return value

    return parse


def batch(value: object) -> int | str:
    """Return a number of slots, or "N%" of them with N from 1 to 100."""
    if isinstance(value, str) and re.fullmatch(r"(?:[1-9][0-9]?|100)%", value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024:
        return value
    raise Invalid(
        f"{show(value)} is no batch", 'write a number of workers from 1 to 1024, or a share of them: "25%"'
    )


def canary(value: object) -> str:
    """Return a path, or an http or https URL, that can stand in the first line of a request."""
    text = string(value)
    if re.fullmatch(r"(https?://[!-.0-~]+)?/[!-~]*", text) and "#" not in text and len(text) <= 2048:
        return text
    raise Invalid(
        f"{show(value)} is no path of the app",
        'write "/healthz", or "http://www.example.com/healthz" when the app looks at the host',
    )


def _is_off(value: object) -> bool:
    return value is False or (value == 0 and isinstance(value, int | float))


def seconds(low: float, high: float = LONGEST_SPAN, *, off: bool = False) -> Callable[[object], float]:
    """Make a parser for a time from `low` to `high` seconds; with `off`, 0 and false stand for none.

    Strings are read as systemd.time(7) does: "90", "500ms", "1min 30s". Milliseconds are the
    finest step, so that the number never needs an exponent in a unit.
    """
    hint = 'write seconds (30) or a time such as "500ms", "30s" or "2min"'
    longest = "24 h" if high == LONGEST_SPAN else f"{high / 86400:g} d"
    limits = f"from {low:g} s to {longest}" + (", or false for none" if off else "")

    def parse(value: object) -> float:
        if off and value is False:
            return 0.0
        if isinstance(value, str):
            parts = re.findall(_SPAN, value) if re.sub(_SPAN, "", value) == "" else []
            if not parts:
                raise Invalid(f"{show(value)} is not a time", hint)
            span = sum(float(number) * _UNITS[unit] for number, unit in parts)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            span = value
        else:
            raise Invalid(f"{show(value)} is not a time", hint)
        span = round(float(span), 6)  # systemd's clock; 100000us times 1e-6 is a little less than 0.1
        if off and span == 0:
            return 0.0
        if not low <= span <= high:  # also false for nan
            raise Invalid(f"{show(value)} is out of range", f"write a time {limits}")
        return round(float(span), 3)

    return parse


def size(low: int, high: int, *, off: bool = False) -> Callable[[object], int]:
    """Make a parser for a size from `low` to `high` bytes; with `off`, 0 and false stand for none.

    Strings have the suffixes that systemd's MemoryMax= has, systemd.resource-control(5): K, M, G and T to the
    base of 1024.
    """
    hint = f'write a size from {show_size(low)} to {show_size(high)}, such as "64M" or "1G"'
    hint += ", or false for none" if off else ""

    def parse(value: object) -> int:
        if off and _is_off(value):
            return 0
        if isinstance(value, str) and (found := re.fullmatch(r"([0-9]{1,16}) ?([KMGT]?)", value)):
            count = int(found[1]) << 10 * " KMGT".index(found[2] or " ")
        elif isinstance(value, int) and not isinstance(value, bool):
            count = value
        else:
            raise Invalid(f"{show(value)} is not a size", hint)
        if not low <= count <= high:
            raise Invalid(f"{show(value)} is out of range", hint)
        return count

    return parse


def show_size(size: int) -> str:
    """Return a size as `size` reads it, as short as it can be."""
    steps = 0
    while steps < 4 and size and not size % 1024:
        size, steps = size // 1024, steps + 1
    return f"{size}{' KMGT'[steps].strip()}"


def app(value: object) -> str:
    """Return "package.module:attribute"."""
    module, _, attribute = string(value).partition(":")
    if not all(part.isidentifier() for half in (module, attribute) for part in half.split(".")):
        raise Invalid(f"{show(value)} does not name an application", 'write "package.module:attribute"')
    return f"{module}:{attribute}"


def path(value: object) -> str:
    """Return an absolute path that WorkingDirectory= takes as it stands."""
    text = string(value)
    if not text.startswith("/"):
        raise Invalid(f"{show(value)} is not an absolute path", "write the whole path, from / on")
    if text.endswith((" ", "\\")):
        raise Invalid(f"{show(value)} ends in a blank or a backslash", "rename it: a unit cannot name it")
    if len(text.encode()) > 4095 or any(len(part.encode()) > 255 for part in text.split("/")):
        raise Invalid(f"{show(value)} is longer than a path can be", "shorten it")
    return text


def directory(value: object) -> str:
    """Return a path for WorkingDirectory=: absolute, and without `..`, which systemd refuses."""
    text = path(value)
    if ".." in text.split("/"):
        raise Invalid(f"{show(value)} has a `..`, which systemd does not take", "write the path without it")
    return text


def credential(value: object) -> str:
    """Return the path of a file that LoadCredential= takes: absolute, without empty, `.` and `..` parts.

    systemd ignores the whole line otherwise (path_is_normalized() in its src/basic/path-util.c).
    """
    text = path(value)
    if any(part in {"", ".", ".."} for part in text.split("/")[1:]):
        raise Invalid(f"{show(value)} is no plain path", "write it without `//`, `.` and `..`")
    return text


def program(value: object) -> str:
    """Return an absolute path, or a name to look up in systemd's own path, that ExecStart= takes first."""
    text = string(value)
    cure = "write the absolute path of the program"
    if not text or text[0] in "@-:+!|":
        raise Invalid(f"{show(value)} is not a program: systemd reads its first character as a prefix", cure)
    if any(c in "$\\\"'" for c in text):
        raise Invalid(
            f"{show(value)} holds a dollar sign, quote or backslash", "rename it: a unit cannot name it"
        )
    if text.startswith("/"):
        path(text)
    elif "/" in text or len(text.encode()) > 255:
        raise Invalid(f"{show(value)} is a relative path", cure)
    if text.endswith(("/", "/.", "/..")) or text in {".", ".."} or text != text.strip():
        raise Invalid(f"{show(value)} is not a file", cure)
    return text


def python(value: object) -> str:
    """Return the absolute path of an interpreter."""
    path(value)
    return program(value)


def command(value: object) -> tuple[str, ...]:
    """Return program and arguments."""
    words = each(value, string)
    if not words:
        raise Invalid("the command is empty", 'write the program and its arguments: ["node", "server.js"]')
    program(words[0])
    if sum(len(word.encode()) for word in words) > LONGEST_COMMAND:
        raise Invalid(
            f"the command is longer than {LONGEST_COMMAND // 1024} KiB", "put it into a script, and run that"
        )
    return words


def user(value: object) -> str:
    """Return the name or the numeric id of a user, given as string or number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value < 2**32 else show(value)
    text = string(value)
    if re.fullmatch(_USER_NAME, text):
        return text
    # Not the two ids that stand for "none": uid_is_valid() of systemd.
    if re.fullmatch(r"0|[1-9][0-9]{0,9}", text) and int(text) not in {65535, 2**32 - 1} and int(text) < 2**32:
        return text
    raise Invalid(f"{show(value)} is not a user", 'write the name of a user ("www-data") or an id (1000)')


def units(value: object) -> tuple[str, ...]:
    """Return names of units, without repetition."""

    def unit(item: object) -> str:
        text = string(item)
        if not re.fullmatch(_UNIT_NAME, text) or len(text) > 255:
            raise Invalid(
                f"{show(item)} is not the name of a unit", 'write it with its type: "multi-user.target"'
            )
        return text

    return tuple(dict.fromkeys(each(value, unit)))
