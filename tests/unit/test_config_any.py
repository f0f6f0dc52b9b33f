"""Whatever a file holds: an app that units can hold, or an error on one line; never anything else."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svc.app import App
from svc.config import AppFiles, ConfigError, load, warnings
from svc.config.problems import Problem
from svc.config.settings import ANY, SETTINGS, Setting
from svc.units import escape
from tests.unit.test_escape import NO_CHARACTERS

TEXT = st.text(
    st.one_of(st.sampled_from(" \t\"'\\%$;#=@-+!:/\n\r\0\x7f\x85"), st.characters(codec="utf-8")), max_size=20
)
SCALAR = st.one_of(
    TEXT,
    st.integers(-2, 70_000),
    st.floats(width=16),
    st.booleans(),
    st.sampled_from(
        ["auto", "per-worker", "25%", "1min", "/srv/a b", "/bin/true", "0.0.0.0:80", "a:b", "a.target"]
    ),
)
VALUE = st.one_of(SCALAR, st.lists(SCALAR, max_size=3), st.dictionaries(TEXT, SCALAR, max_size=2))
NAME = st.one_of(st.from_regex(r"[A-Za-z_][A-Za-z0-9]{0,6}", fullmatch=True), TEXT)


def toml(value: object) -> str:
    """Write a value as TOML does."""
    match value:
        case str():
            # JSON leaves DEL as it is, TOML does not allow it.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
        case _:
            return str(value)


@st.composite
def lines(draw: st.DrawFn, row: Setting) -> tuple[str, str]:
    """A section and a line for it: the example of a row, or anything in its place."""
    if draw(st.booleans()):
        return row.section, row.example
    key = draw(NAME) if row.key == ANY else row.key
    return row.section, f"{toml(key)} = {toml(draw(VALUE))}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A file with some settings, few of them wrong."""
    chosen = draw(st.lists(st.sampled_from([row for row in SETTINGS if row.key != "command"]), max_size=5))
    sections: dict[str, list[str]] = {"": ['app = "a:b"', 'listen = "127.0.0.1:8000"']}
    for row in chosen:
        section, line = draw(lines(row))
        if row.key not in {"app", "listen"} or draw(st.booleans()):
            sections.setdefault(section, []).append(line)
    # The same key twice is not TOML; which lines stay is hypothesis' choice as well.
    text = ""
    for section, found in sections.items():
        unique = {line.partition(" = ")[0].strip('"'): line for line in found}
        text += (f"[{section}]\n" if section else "") + "\n".join(unique.values()) + "\n"
    return text


def unit(app: App) -> str:
    """Write all values of an app where a unit has them. Raises ValueError if one cannot stand there."""
    lines = [f"Environment={escape.environment(*pair)}" for pair in app.env]
    lines += [f"WorkingDirectory={escape.path(app.directory)}"] if app.directory else []
    lines += [f"User={escape.plain(app.user)}"] if app.user else []
    command = app.command or ("/bin/true", "-m", "svc.worker", "--python", app.python, app.app)
    lines += [f"ExecStart={escape.command_line(command)}"]
    return "\n".join(["[Service]", "Type=oneshot", *lines, ""])


def outcome(files: AppFiles) -> tuple[App | None, tuple[Problem, ...]]:
    """Return the app, or what is wrong with it."""
    try:
        return load(files), ()
    except ConfigError as error:
        return None, error.problems


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(documents(), TEXT.map(lambda text: f"app = {text}")))
def test_an_app_or_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.toml"
    file.write_bytes(text.encode())
    files = AppFiles("any", file)
    assert all(problem.key.startswith("env.") for problem in warnings(files))
    app, problems = outcome(files)
    assert (app is None) == bool(problems)
    for problem in problems:
        assert str(problem).isprintable()
        assert problem.what
        assert problem.cure
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + 1
    if app is None:
        return
    lines = 4 + len(app.env) + bool(app.directory) + bool(app.user)
    assert len(re.split("[\n\r\0]", unit(app))) == lines, "a value has left its line"
    for _, value in (*app.unit, *app.service, *app.socket):
        assert not escape.has_control(value, tab=True)
        assert not value.endswith("\\")


@st.composite
def good(draw: st.DrawFn) -> str:
    """A file whose values are odd, and right."""
    character = st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters=NO_CHARACTERS)
    word = st.text(character, min_size=1, max_size=20)
    args = draw(st.lists(word, max_size=4))
    folder = draw(word.map(lambda part: "/srv/" + part.replace("\\", "/").strip() + "x"))
    env = draw(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,5}X", fullmatch=True), word, max_size=4))
    return "\n".join(
        [
            f"command = {toml(['/bin/true', *args])}",
            'listen = "127.0.0.1:8000"',
            f"directory = {toml(folder)}",
            f"user = {toml(draw(st.sampled_from([0, 'root', 'daemon'])))}",
            f"env = {toml(env)}",
        ]
    )


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(good(), min_size=10, max_size=10))
def test_systemd_takes_what_is_taken_here(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    for number, text in enumerate(texts):
        (folder / "any.toml").write_text(text)
        (folder / f"any{number}.service").write_text(unit(load(AppFiles("any", folder / "any.toml"))))
    units = [str(path) for path in sorted(folder.glob("*.service"))]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
