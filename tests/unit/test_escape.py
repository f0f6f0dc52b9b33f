"""What svc.units.escape writes, systemd reads back as the same text.

The reader below follows systemd's documentation (systemd.syntax, "COMMAND LINES" in systemd.service,
"SPECIFIERS" in systemd.unit) and shares nothing with the writer.
"""

import re
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from svc.units import escape

SPECIAL = " \t\"'\\%$;#=@-+!:|{}[]()*?~\n\r\0\x7f\x85äπ🐍"
TEXT = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters()), max_size=40)
NO_CHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
NO_CHARACTERS += [chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)]
CLEAN = st.text(
    st.one_of(
        st.sampled_from([c for c in SPECIAL if unicodedata.category(c) != "Cc"]), st.characters()
    ).filter(lambda c: unicodedata.category(c) not in {"Cc", "Cs"} and c not in NO_CHARACTERS),
    max_size=40,
)
NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
UNESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
ROUND = settings(max_examples=300, deadline=None)


def assignments(unit: str) -> list[tuple[str, str]]:
    """Read a unit as systemd does: physical lines, continuations, comments, then `name = value`."""
    found, joined = [], ""
    for physical in unit.replace("\r", "\n").replace("\0", "\n").split("\n"):
        line = joined + physical
        if not joined and physical.lstrip(" \t")[:1] in {"#", ";"}:
            continue
        trailing = len(line) - len(line.rstrip("\\"))
        if trailing % 2:
            joined = line[:-1] + " "
            continue
        joined = ""
        if line.strip(" \t") and not line.startswith("["):
            name, _, value = line.partition("=")
            found.append((name.strip(" \t"), value.strip(" \t")))
    assert not joined, "the last line continues into nothing"
    return found


def words(value: str) -> list[str]:
    """Split into words: blanks separate, quotes group, a backslash begins a C escape."""
    found: list[str] = []
    word: str | None = None
    quote = ""
    rest = iter(value)
    for c in rest:
        if c == "\\":
            escaped = next(rest)
            assert escaped in UNESCAPED or escaped in "\\\"'", f"unknown escape {escaped!r}"
            word = (word or "") + UNESCAPED.get(escaped, escaped)
        elif quote:
            if c == quote:
                quote = ""
            else:
                word = (word or "") + c
        elif c in "\"'":
            quote, word = c, word or ""
        elif c in " \t":
            if word is not None:
                found.append(word)
            word = None
        else:
            word = (word or "") + c
    assert not quote, "a quote is left open"
    return [*found, word] if word is not None else found


def doubled(sign: str, text: str) -> str:
    """Read `%%` as `%` (or `$$` as `$`); any other use would be a specifier or a variable."""
    parts = text.split(sign * 2)
    assert not any(sign in part for part in parts), f"{text!r} holds a lone {sign}"
    return sign.join(parts)


def only(unit: str, name: str) -> str:
    """Return the value of the only assignment, between two others that must not be touched."""
    before, (found, value), after = assignments(f"[Service]\nBefore=1\n{unit}\nAfter=1\n")
    assert (before, found, after) == (("Before", "1"), name, ("After", "1"))
    return value


def cannot_stand(text: str, *, tab: bool = False) -> bool:
    odd = [c for c in text if unicodedata.category(c) in {"Cc", "Cs"} or c in NO_CHARACTERS]
    return any(not (tab and c == "\t") for c in odd)


@ROUND
@given(st.lists(TEXT, max_size=5))
def test_arguments_come_back(args: list[str]) -> None:
    command = ["/bin/true", *args]
    if any(map(cannot_stand, args)):
        with pytest.raises(ValueError, match="control character"):
            escape.command_line(command)
        return
    line = escape.command_line(command)
    assert [
        doubled("$", doubled("%", word)) for word in words(only(f"ExecStart={line}", "ExecStart"))
    ] == command


@ROUND
@given(TEXT)
def test_an_argument_is_never_the_end_of_a_command(text: str) -> None:
    """A `;` between blanks would begin another command (systemd.service, "COMMAND LINES")."""
    assume(not cannot_stand(text))
    assert escape.argument(text) not in {"", ";", "\\;"}


@ROUND
@given(NAME, TEXT)
def test_variables_come_back(name: str, value: str) -> None:
    if cannot_stand(value, tab=True):
        with pytest.raises(ValueError, match="control character"):
            escape.environment(name, value)
        return
    read = words(only(f"Environment={escape.environment(name, value)}", "Environment"))
    assert [doubled("%", word) for word in read] == [f"{name}={value}"]


@pytest.mark.parametrize(
    "text", ["/srv\\", " /srv", "/srv ", "/a\nb", "/a\rb", "/a\0b", "/a\tb", "/a\x7f", "/a\ud800"]
)
@pytest.mark.parametrize("write", [escape.path, escape.plain])
def test_lines_that_systemd_would_not_read_back_are_refused(text: str, write: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match=r"control character|blank"):
        write(text)


@ROUND
@given(TEXT, st.sampled_from([escape.path, escape.plain]))
def test_lines_that_are_taken_as_they_stand_come_back(text: str, write: Callable[[str], str]) -> None:
    if cannot_stand(text) or text != text.strip(" ") or text.endswith("\\"):
        with pytest.raises(ValueError, match=r"control character|blank"):
            write(text)
        return
    assert doubled("%", only(f"Description={write(text)}", "Description")) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("--bind", "--bind"),
        ("", '""'),
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        (";", '";"'),
        ('say "hi"', r'"say \"hi\""'),
        ("C:\\", r'"C:\\"'),
        ("#1", '"#1"'),
    ],
)
def test_an_argument_is_bare_when_it_can_be(text: str, written: str) -> None:
    assert escape.argument(text) == written


@pytest.mark.parametrize("character", NO_CHARACTERS, ids=ascii)
def test_what_unicode_calls_no_character_is_refused(character: str) -> None:
    with pytest.raises(ValueError, match="control"):
        escape.plain(f"a{character}b")


def test_systemd_would_have_ignored_it(tmp_path: Path) -> None:
    for character in NO_CHARACTERS:
        line = f"WorkingDirectory=/srv/{character}"
        assert "not UTF-8 clean" in verify(tmp_path, ["ExecStart=/bin/true", line]), ascii(character)


def test_a_tab_may_stand_only_in_the_environment() -> None:
    assert escape.environment("A", "1\t2") == r'"A=1\t2"'
    assert escape.environment("A", "$HOME") == '"A=$HOME"'
    with pytest.raises(ValueError, match="control"):
        escape.argument("1\t2")


@pytest.mark.parametrize(
    "program", ["", "-/bin/true", "@x", ":x", "+x", "!x", "|x", "/bin/$x", 'a"b', "a'b", "a\\b"]
)
def test_what_systemd_would_not_run_is_refused(program: str) -> None:
    with pytest.raises(ValueError, match="program"):
        escape.command_line([program])


def verify(folder: Path, lines: list[str]) -> str:
    """Return what systemd itself has to say about a unit with these lines: nothing, when all is well."""
    unit = folder / "escape.service"
    unit.write_text("\n".join(["[Service]", "Type=oneshot", *lines, ""]))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert bool(done.returncode) <= bool(done.stderr)
    return done.stderr


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sets(CLEAN.map(lambda text: re.sub(r"[/$\\\\\"']", "", text).strip() + "x"), min_size=30, max_size=50)
)
def test_systemd_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    """systemd-analyze looks whether each program is there, so it must have read the name as it was."""
    folder = tmp_path_factory.mktemp("programs")
    lines = []
    for name in names:
        (folder / name).symlink_to("/bin/true")
        lines.append(f"ExecStart={escape.command_line([str(folder / name)])}")
    assert verify(folder, lines) == ""
    missing = next(iter(names))
    (folder / missing).unlink()
    assert "No such file" in verify(folder, lines)


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CLEAN, min_size=50, max_size=100), st.dictionaries(NAME, CLEAN, min_size=50, max_size=100))
def test_systemd_accepts_it(
    tmp_path_factory: pytest.TempPathFactory, args: list[str], env: dict[str, str]
) -> None:
    lines = [f"Environment={escape.environment(name, value)}" for name, value in env.items()]
    lines += [f"ExecStart={escape.command_line(['/bin/true', arg])}" for arg in args]
    lines += [f"ExecStart={escape.command_line(['/bin/true', *args])}"]
    assert verify(tmp_path_factory.mktemp("verify"), lines) == ""


@pytest.mark.parametrize(
    "line", ['ExecStart=/bin/true "open', "ExecStart=relative/true", "Environment=%z", "Nonsense=1"]
)
def test_systemd_would_have_complained(tmp_path: Path, line: str) -> None:
    assert "escape.service" in verify(tmp_path, ["ExecStart=/bin/true", line])
