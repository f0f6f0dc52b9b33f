r"""Values → text in a unit file, so that no value can leave its place in its line.

Every function raises ValueError for a text that a unit cannot hold: control characters
(newline, carriage return and NUL among them), lone surrogates and Unicode's noncharacters.

The rules are those of systemd.syntax(7), of "COMMAND LINES" in systemd.service(5) and of
"SPECIFIERS" in systemd.unit(5): systemd first joins lines that end in a backslash and strips
blanks around the value, then (where a setting takes words) splits and unquotes, then expands
`%` specifiers, and in commands at last `$` variables.
"""

import string
from collections.abc import Iterable

# Characters that mean nothing to systemd wherever they stand in a word.
_BARE = frozenset(f"{string.ascii_letters}{string.digits}_./:=@,+-")
# Surrogates, which UTF-8 cannot hold, and noncharacters: systemd ignores a line with one of these
# (unichar_is_valid() in its src/basic/utf8.c).
_INVALID = (
    *range(0xD800, 0xE000),
    *range(0xFDD0, 0xFDF0),
    *(plane + last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)),
)
# Unicode's category Cc, and what is no character.
_CONTROL = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), *_INVALID)))
_CONTROL_NOT_TAB = _CONTROL - {"\t"}


def has_control(text: str, *, tab: bool = False) -> bool:
    """Say whether `text` holds a character that a unit must not hold; `tab` allows tabs."""
    return not (_CONTROL_NOT_TAB if tab else _CONTROL).isdisjoint(text)


def _checked(text: str, *, tab: bool = False) -> str:
    if has_control(text, tab=tab):
        raise ValueError(f"{text[:60]!r} holds a control character, which a unit file cannot hold")
    return text


def _word(text: str) -> str:
    """Return `text` as one word of a setting that unquotes: bare if possible, else in double quotes."""
    if text and _BARE.issuperset(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


def argument(text: str) -> str:
    """Return `text` as one argument of ExecStart= and its like: the program gets exactly `text`.

    Not for the program itself: there `$` is not expanded, so `$$` would stay two characters.
    """
    return _word(_checked(text).replace("%", "%%").replace("$", "$$"))


def command_line(args: Iterable[str]) -> str:
    """Return the value of ExecStart= that runs `args`, the program first.

    ValueError for what systemd does not take as a program: an empty name, prefixes such as
    `-` or `@`, and `$`, quotes and backslashes.
    """
    program, *rest = args
    if not program or program[0] in "@-:+!|" or any(c in "$\\\"'" for c in program):
        raise ValueError(f"{program[:60]!r} cannot be the program of a command line")
    return " ".join(map(argument, (program, *rest)))


def environment(name: str, value: str) -> str:
    """Return `NAME=value` as the value of one Environment= line. `$` means nothing there; a tab may stand."""
    return _word(_checked(f"{name}={value}", tab=True).replace("%", "%%"))


def path(text: str) -> str:
    """Return `text` for WorkingDirectory=, ListenStream= and their like, which take a line as it stands.

    Quotes and backslashes are ordinary characters there. ValueError for what systemd would not
    give back: blanks at either end, and a backslash at the end, which joins the next line.
    """
    _checked(text)
    if text != text.strip(" ") or text.endswith("\\"):
        raise ValueError(f"{text[:60]!r} begins or ends in a blank, or ends in a backslash")
    return text.replace("%", "%%")


def plain(text: str) -> str:
    """Return `text` for Description= and its like. Same rules as `path`."""
    return path(text)
