"""What is wrong with a configuration, said so that the reader can mend it."""

from dataclasses import dataclass
from pathlib import Path

SHOWN = 60
"""Characters of a value that a message quotes at most."""


def printable(text: str) -> str:
    """Return `text` with every control character written as an escape.

    A message stays on its line whatever a file holds: it goes to /dev/kmsg, a terminal
    and the journal.
    """
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def show(value: object) -> str:
    """Return `value` as a TOML file would have it, short enough for a message."""
    match value:
        case bool():
            text = "true" if value else "false"
        case int() if not -(2**63) <= value < 2**63:
            text = "a number this large"  # str() refuses thousands of digits
        case str():
            cut = value if len(value) <= SHOWN else value[:SHOWN] + "…"
            text = '"' + printable(cut.replace("\\", "\\\\").replace('"', '\\"')) + '"'
        case dict():
            text = "a table"
        case list():
            text = "a list"
        case _:
            text = str(value)
    return text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and how to mend it.

    `line` counts from 1; it is None where no line of the file is to blame (a key that is
    missing, a file that cannot be read). `key` is a dotted path ("limits.drain") or empty.
    `yields` says that nothing is to be mended: an app that starts only by hand, as an example does, is
    left out for one that starts at boot.
    """

    file: Path
    line: int | None
    key: str
    what: str
    cure: str
    yields: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        key = f"{self.key}: " if self.key else ""
        cure = f"; {self.cure}" if self.cure else ""
        return printable(f"{place}: {key}{self.what}{cure}")


class ConfigError(Exception):
    """An app that cannot be used. `problems` holds all that is wrong with it, at least one."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems: tuple[Problem, ...] = problems
