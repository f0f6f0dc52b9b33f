"""On which line of a TOML file is a key?

tomllib does not tell. This scanner looks at a document that tomllib has accepted, and only
when there is something to report, so it is short rather than strict: on a text that is not
TOML it returns what it happens to find, and never raises.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

_KEY = r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'"""
_DOTTED = rf"(?:{_KEY})(?:[ \t]*\.[ \t]*(?:{_KEY}))*"
_PART = re.compile(_KEY)
_HEADER = re.compile(rf"\[\[?[ \t]*({_DOTTED})[ \t]*\]")
_ASSIGNMENT = re.compile(rf"({_DOTTED})[ \t]*=")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
# What may hold a bracket, a comment sign or a line end inside a value. An unclosed
# string ends with its line (or with the text, if it may have many lines).
_STRING = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*(?:"{3,5}|\Z)'
    r"|'''(?:[^']|'(?!''))*(?:'{3,5}|\Z)"
    r'|"(?:[^"\\\n]|\\[^\n])*"?'
    r"|'[^'\n]*'?"
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_NAMED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}

Path = tuple[str, ...]

_DEEPEST = 8
"""Names of a path that are looked at. svc's own have two; thousands of them would cost their square."""


def _unescape(found: re.Match[str]) -> str:
    if found[3]:
        return _NAMED.get(found[3], found[3])
    code = int(found[1] or found[2], 16)
    return chr(code) if code <= 0x10FFFF else ""


def _parts(dotted: str) -> Path:
    """Split a dotted key into its names, without their quotes."""
    names = []
    for part in _PART.findall(dotted):
        if part[0] == '"':
            names.append(_ESCAPE.sub(_unescape, part[1:-1]))
        else:
            names.append(part[1:-1] if part[0] == "'" else part)
    return tuple(names)


def _value_end(text: str, at: int) -> int:
    """Return the offset after the value that begins at `at`: the end of its last line."""
    depth = 0
    while at < len(text):
        c = text[at]
        if c == "\n" and depth <= 0:
            return at
        if c in "\"'" and (string := _STRING.match(text, at)):
            at = string.end()
            continue
        if c == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        depth += (c in "[{") - (c in "]}")
        at += 1
    return at


def _statements(text: str) -> Iterator[tuple[int, Path, bool]]:
    """Yield the offset of each header and key, its path as written, and whether it is a header."""
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
        elif header := _HEADER.match(text, at):
            yield at, _parts(header[1]), True
            at = _value_end(text, header.end() + (header[0][:2] == "[["))
        elif key := _ASSIGNMENT.match(text, at):
            yield at, _parts(key[1]), False
            at = _value_end(text, key.end())
        else:
            end = text.find("\n", at)
            at = len(text) if end < 0 else end


def lines(text: str) -> dict[Path, int]:
    """Return the line, counted from 1, of each table and key of a TOML document.

    Keys are paths: `drain` in `[limits]` is ("limits", "drain"). Of a path that occurs
    several times (in an array of tables) the first counts. Keys of inline tables are left out.
    """
    found: dict[Path, int] = {}
    table: Path = ()
    line, seen = 1, 0
    for at, path, is_header in _statements(text):
        line += text.count("\n", seen, at)
        seen = at
        base = () if is_header else table
        if is_header:
            table = path
        # A dotted key (or header) makes the tables on its way, too.
        whole = (base + path)[:_DEEPEST]
        for length in range(len(base) + 1, len(whole) + 1):
            found.setdefault(whole[:length], line)
    return found


# All the problems of a file are looked up one after the other.
_lines = lru_cache(maxsize=4)(lines)


def line_of(text: str, path: Path) -> int | None:
    """Return the line of `path`, or of the nearest table around it, or None."""
    known = _lines(text)
    for length in range(len(path), 0, -1):
        if path[:length] in known:
            return known[path[:length]]
    return None
