"""Whatever an app file says: a clear error, or units that systemd accepts. No value leaves its line."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svc.app import Cluster
from svc.config import ConfigError, SearchPath, find, load
from svc.units.host import Host
from svc.units.render import render

HOST = Host(cpus=4)
CONFIGURATIONS = 200

# Every directive and section that a template has; none but these may appear in what is rendered.
TEMPLATES = Path(__file__).parents[2] / "units"
OURS = {
    name
    for template in TEMPLATES.iterdir()
    for name in re.findall(r"^(\[[A-Z][a-z]+\]|[A-Z][A-Za-z0-9]+(?==))", template.read_text(), re.MULTILINE)
}
PASSED_THROUGH = ("MemoryHigh", "Nice")

# Text as an administrator may write it: words, and everything that means something to a unit file.
WORD = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
ODD = st.text(alphabet="ab1 %$\\\"';#[]={}:/@-+!|~*?€😀", max_size=12)
FORBIDDEN = st.text(alphabet='a%\\"\t\n\r\0\x07\x1b', max_size=6)
TEXT = st.one_of(WORD, ODD)
NAME_IN_PATH = st.text(alphabet="ab1 %$\"';#[]={}:@-+!|~*é", max_size=8)
PATH = NAME_IN_PATH.map(lambda text: f"/srv/x{text}y")


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional=keys)


GOOD: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "listen": st.sampled_from(
            [["127.0.0.1:8000"], ["[::1]:80", "0.0.0.0:80", "unix:/run/x y.sock"], "[::]:443"]
        )
    },
    optional={
        "workers": st.one_of(st.integers(1, 9), st.just("auto")),
        "directory": PATH,
        "wanted_by": st.just([]),
        "user": st.sampled_from(["www-data", "1000"]),
        "limits": some(
            drain=st.integers(0, 90), start=st.just("1min"), watchdog=st.sampled_from([0, 0.5, "20s"])
        ),
        "cluster": some(
            cache=st.sampled_from([4 << 20, "5M", "1T"]),
            url=st.sampled_from(["redis://10.0.0.1", "unix:///r%20%/'$\"x", "rediss://u@[::1]:1/2?db=3"]),
        ),
        "env": st.dictionaries(WORD, st.one_of(TEXT, st.integers(), st.booleans()), max_size=3),
        "service": some(MemoryHigh=st.sampled_from(["1G", "", "50%"]), Nice=st.integers(-5, 5)),
    },
)
ASGI = st.fixed_dictionaries(
    {"app": st.sampled_from(["site:app", "a.b.c:make.app"])},
    optional={"python": PATH, "interface": st.sampled_from(["asgi", "wsgi", "auto"])},
)
COMMAND = st.fixed_dictionaries(
    {"command": st.lists(TEXT, max_size=4).map(lambda words: ["/bin/true", *words])},
    optional={"notify": st.booleans()},
)
MISTAKE = some(
    app=st.one_of(TEXT, FORBIDDEN),
    command=st.lists(st.one_of(TEXT, FORBIDDEN), max_size=2),
    listen=st.lists(
        st.sampled_from(["localhost:80", ":80", "127.0.0.1:0", "unix:x", "[::1:80", "1.2.3:4", ""])
    ),
    workers=st.one_of(st.integers(-1, 0), TEXT, st.booleans()),
    directory=FORBIDDEN,
    user=TEXT,
    worker=st.just(1),
    balance=some(policy=st.sampled_from(["sticky-ip", "foul"]), listeners=st.integers(-1, 99)),
    limits=some(drain=st.one_of(st.floats(max_value=-0.1), TEXT), memory=st.just("1G")),
    env=st.dictionaries(st.one_of(ODD, FORBIDDEN), FORBIDDEN, max_size=2),
    service=st.dictionaries(
        st.sampled_from([*PASSED_THROUGH, "A=b", "x]", "# y"]), st.one_of(TEXT, FORBIDDEN)
    ),
)
# Every other configuration has a mistake in it, or a value that looks like one.
CONFIGURATION = st.builds(
    lambda good, kind, mistake, wrong: {**good, **kind, **(mistake if wrong else {})},
    GOOD,
    st.one_of(ASGI, COMMAND),
    MISTAKE,
    st.booleans(),
)


def toml(configuration: dict[str, object]) -> str:
    """Write TOML; its strings and JSON's are alike but for the escape of DEL and of surrogates."""
    top = {key: value for key, value in configuration.items() if not isinstance(value, dict)}
    lines = [f"{key} = {value_of(value)}" for key, value in top.items()]
    for section, table in configuration.items():
        if isinstance(table, dict):
            lines += [
                f"[{section}]",
                *(f"{json.dumps(key, ensure_ascii=False)} = {value_of(v)}" for key, v in table.items()),
            ]
    return "\n".join(lines) + "\n"


def value_of(value: object) -> str:
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def test_an_error_or_units_that_systemd_accepts(tmp_path: Path) -> None:
    """All units are verified in one go: a call of systemd-analyze for each would take minutes."""
    rendered: list[dict[str, str]] = []
    refused = 0

    @settings(
        max_examples=CONFIGURATIONS, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(CONFIGURATION)
    def one(configuration: dict[str, object]) -> None:
        nonlocal refused
        # A number keeps the names apart: all of them are loaded together below.
        file = tmp_path / "etc/svc" / f"app{len(rendered)}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(toml(configuration))
        try:
            app = load(find(SearchPath.system(tmp_path))[file.stem])
        except ConfigError as error:
            refused += 1
            for problem in error.problems:
                message = str(problem)
                assert message.startswith(f"{file}:"), message
                assert "\n" not in message
                assert "; " in message, f"no cure: {message}"
            return
        finally:
            file.unlink()
        units = render(app, HOST)
        for text in units.values():
            assert set(directives(text)) <= OURS | set(PASSED_THROUGH)
        worker = directives(units[f"{app.name}@.service"])
        assert worker.count("ExecStart") == 1
        own = (2 if app.app else 4) + (app.cluster.cache != Cluster().cache) + bool(app.cluster.url)
        assert worker.count("Environment") == len(app.env) + own
        assert [name for name in worker if name.startswith("[")] == ["[Unit]", "[Service]"]
        rendered.append(units)

    one()
    assert refused > 20
    assert len(rendered) > 20

    folder = tmp_path / "units"
    folder.mkdir()
    for units in rendered:
        for name, text in units.items():
            (folder / name).write_text(text)
    names = [str(folder / name.replace("@.", "@0.")) for units in rendered for name in units]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, check=False
    )
    # Programs that are not there, and what an administrator passes through, are his; the rest is ours.
    theirs = ("is not executable", "MemoryHigh", "Nice", "Failed to parse CPU", "nice")
    ours = [line for line in done.stderr.splitlines() if not any(word in line for word in theirs)]
    assert ours == []


def directives(text: str) -> list[str]:
    """Return the names of the sections and directives, as systemd reads the lines (systemd.syntax(7))."""
    joined = text.replace("\\\n", " ")
    lines = [line.strip() for line in re.split("[\n\r\0]", joined)]
    lines = [line for line in lines if line and not line.startswith(("#", ";"))]
    return [line if line.startswith("[") else line.partition("=")[0] for line in lines]
