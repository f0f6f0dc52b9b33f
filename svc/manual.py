"""The table of settings as a manual page and as the README's table.

    python3 -m svc.manual man [TEXT]    svc.toml(5), in roff: the page's own text with the table in it
    python3 -m svc.manual table         the settings, in Markdown

The page's own text is packaging/man/svc.toml.5.in of the source tree.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from svc import __version__
from svc.config.settings import ANY, PASSED_THROUGH, SECTIONS, SETTINGS, Setting

PAGE = Path(__file__).parent.parent / "packaging" / "man" / "svc.toml.5.in"
"""The text around the settings. Lines `@SETTINGS@` and the word `@VERSION@` are filled in."""

_LATER = "Comes with a later version of svc; until then it is an error."


def roff(text: str) -> str:
    r"""Return `text` so that roff prints it as it is. `words` in backticks become bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text.replace("~", "\\(ti"))
    lines = ("\\&" + line if line.startswith(".") else line for line in text.split("\n"))
    return "\n.br\n".join(lines)


def key_name(row: Setting) -> str:
    """Return what stands for the key in the manual: sections that take any name show a placeholder."""
    if row.key != ANY:
        return row.key
    return "Directive" if row.section in PASSED_THROUGH else "NAME"


def _text(row: Setting) -> str:
    return f"{row.help} {_LATER}" if row.later else row.help


def man_settings() -> str:
    """Return the part of svc.toml(5) that describes each setting."""
    out: list[str] = []
    for section in ("", *SECTIONS):
        out.append(f".SS {roff(f'[{section}]') if section else 'Top of the file'}")
        for row in SETTINGS:
            if row.section == section:
                default = f"\n.br\nDefault: {roff(row.shown)}." if row.shown else ""
                out += [".TP", f"\\fB{roff(key_name(row))}\\fR", roff(_text(row)) + default]
                out += [".br", f"Example: {roff(row.example)}"]
    return "\n".join(out)


def man_page(text: str) -> str:
    """Return svc.toml(5): its own `text` with the settings and the version filled in."""
    return text.replace("@VERSION@", __version__).replace("@SETTINGS@\n", man_settings() + "\n")


def markdown_table() -> str:
    """Return the settings as a table in Markdown."""

    def cell(text: str) -> str:
        return text.replace("|", "\\|")

    def rows() -> Iterator[str]:
        for row in SETTINGS:
            section = f"`[{row.section}]`" if row.section else ""
            shown = f"`{cell(row.shown)}`" if row.shown and " " not in row.shown else cell(row.shown)
            yield f"| {section} | `{key_name(row)}` | {shown} | {cell(_text(row))} |"

    head = ["| Section | Key | Default | Meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows()]) + "\n"


def main(argv: list[str]) -> int:
    """Print what is asked for. Returns an exit status: 2 for a wrong call, 1 without the page's text."""
    makers: dict[str, Callable[[str], str]] = {"man": man_page, "table": lambda _: markdown_table()}
    if not argv or argv[0] not in makers or len(argv) > 2 or argv[0] == "table" != argv[-1]:
        print("usage: python3 -m svc.manual man [TEXT] | table", file=sys.stderr)
        return 2
    page = Path(argv[1]) if len(argv) == 2 else PAGE
    try:
        text = page.read_text(encoding="utf-8") if argv[0] == "man" else ""
    except OSError as error:
        print(f"{page}: cannot be read ({error.strerror}); run this from svc's source tree", file=sys.stderr)
        return 1
    sys.stdout.write(makers[argv[0]](text))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
