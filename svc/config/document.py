"""The files of an app as one document that still knows where each value came from."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from svc.config.problems import Problem, printable

Key = tuple[str, ...]
"""A path in a document: () is all of it, ("limits",) a section, ("limits", "drain") a key in it."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file and what is in it."""

    file: Path
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """All files of an app, merged.

    `values` are as tomllib made them. `origins` tells from which file each value (and each
    section, the first time) comes. `broken` holds what could not be read, one for each file.
    """

    source: Path
    values: dict[str, object]
    origins: dict[Key, Text]
    broken: tuple[Problem, ...]

    def problem(self, key: Key, what: str, cure: str) -> Problem:
        """Make a problem that names the file and the line of `key`. Without a line: the app's own file."""
        from svc.config.toml_lines import line_of  # only needed when something is wrong

        origin = self.origins.get(key)
        name = ".".join(printable(part) for part in key)
        if origin is None:
            return Problem(self.source, None, name, what, cure)
        return Problem(origin.file, line_of(origin.text, key), name, what, cure)


def read(source: Path, dropins: Iterable[Path]) -> Document:
    """Read and merge `source` and its drop-ins, in this order.

    Tables merge key by key, everything else replaces. A file that cannot be read, or that is
    not TOML, becomes a problem in `broken`; the others are merged without it.
    """
    values: dict[str, object] = {}
    origins: dict[Key, Text] = {}
    broken: list[Problem] = []
    for file in (source, *dropins):
        found = _text(file)
        table = _parse(found) if isinstance(found, Text) else found
        if isinstance(found, Problem):
            broken.append(found)
        elif isinstance(table, Problem):
            broken.append(table)
        else:
            _merge(values, table, found, origins)
    return Document(source, values, origins, tuple(broken))


def _text(file: Path) -> Text | Problem:
    """Read a file, whatever it is, without waiting and without an exception."""
    try:
        # A FIFO with no writer would hold up the boot.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return Problem(
                    file, None, "", "is not a regular file", "remove it, or write a TOML file in its place"
                )
            return Text(file, stream.read().decode("utf-8-sig"))  # some editors begin a file with a mark
    except OSError as error:
        cure = "make it readable, remove it, or run this as root"
        return Problem(file, None, "", f"cannot be read ({error.strerror})", cure)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Problem(file, line, "", "is not UTF-8 text", "save it as UTF-8")


def _parse(text: Text) -> dict[str, object] | Problem:
    import tomllib  # not before there is something to parse: it costs as much as all of svc.config

    try:
        return tomllib.loads(text.text)
    except RecursionError:
        return Problem(
            text.file, None, "", "is nested too deeply", "write each setting as the manual shows it"
        )
    except ValueError as error:  # TOMLDecodeError, and int() of thousands of digits
        what, line = _place(str(error), text.text)
        return Problem(
            text.file, line, "", f"is not TOML: {what}", "correct this line; see svc.toml(5) for examples"
        )


def _place(message: str, text: str) -> tuple[str, int | None]:
    """Split "… (at line 3, column 5)", as tomllib says it, into text and line; the column stays."""
    if message.endswith(" (at end of document)"):
        return message, text.removesuffix("\n").count("\n") + 1  # TOML knows no other end of a line
    what, _, place = message.rpartition(" (at line ")
    number, _, column = place.partition(", column ")
    if what and number.isdigit():
        return f"{what} (column {column}", int(number)
    return message, None


def _merge(values: dict[str, object], table: dict[str, object], text: Text, origins: dict[Key, Text]) -> None:
    for key, value in table.items():
        old = values.get(key)
        if not isinstance(value, dict):
            for inner in old if isinstance(old, dict) else ():
                origins.pop((key, inner), None)
            values[key] = value
            origins[key,] = text
            continue
        if isinstance(old, dict):
            section = old
        else:
            section = values[key] = {}
            origins[key,] = text
        for inner, item in value.items():
            section[inner] = item
            origins[key, inner] = text
