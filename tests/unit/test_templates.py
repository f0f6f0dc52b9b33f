"""Templates as functions: they say what Jinja2 would, and need none of it where svc is installed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc.units.templates import from_folder
from tests.unit.worker.process import ROOT

# Names of Python's and of the translation's own, which must stay out of each other's way.
VALUES = ("name", "str", "len", "map", "_parts", "_values", "class", "flag", "number")
WORDS = ("words", "pairs")

texts = st.text(st.characters(blacklist_characters="{}", blacklist_categories=["Cs"]), max_size=12)
"""Data of a template: quotes, backslashes and odd line ends too."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    return tmp_path


def ours(folder: Path, source: str, values: dict[str, Any]) -> str:
    """The text that a template gives when it is translated."""
    (folder / "one.j2").write_text(source, encoding="utf-8", newline="")
    return from_folder(folder)["one.j2"](values)


def theirs(source: str, values: dict[str, Any]) -> str:
    """The text that Jinja2 gives."""
    strict = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    return strict.from_string(source).render(values)


def expressions() -> st.SearchStrategy[str]:
    """What templates write into a text."""
    name = st.sampled_from(VALUES)
    compared = st.builds(
        "number {} {}".format, st.sampled_from([">", ">=", "<", "<=", "==", "!="]), st.integers(0, 9)
    )
    test = st.one_of(name, st.builds("not {}".format, name), compared, st.just("words | length > 1"))
    return st.one_of(
        name,
        st.sampled_from(["words | join(', ')", "words | length", "'it\\'s'", '"two\\nlines"', "7"]),
        st.builds("'a' if {} else {}".format, test, name),
        st.builds("'a' if {}".format, test),
        test.map("({})".format),
    )


def blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """What templates have around other parts."""
    dash = st.sampled_from(["", "-"])
    return st.one_of(
        st.builds("{{%{0} for name in words {1}%}}{2}{{%{1} endfor {0}%}}".format, dash, dash, inner),
        st.builds("{{%{0} for name, str in pairs %}}{1}{{% endfor {0}%}}".format, dash, inner),
        st.builds("{{%{0} if ({1}) %}}{2}{{%{0} endif %}}".format, dash, expressions(), inner),
        st.builds(
            "{{% if ({0}) %}}{1}{{% else {2}%}}{3}{{% endif %}}".format, expressions(), inner, dash, inner
        ),
        st.lists(inner, max_size=4).map("".join),
    )


parts = st.recursive(st.one_of(texts, expressions().map("{{{{ {} }}}}".format)), blocks, max_leaves=12)
templates = st.builds("{{% set flag = {} %}}{}".format, expressions(), parts)


@given(
    templates,
    st.fixed_dictionaries(
        {name: st.one_of(texts, st.booleans(), st.integers(0, 9)) for name in VALUES if name != "number"}
        | {"number": st.integers(0, 9), "words": st.lists(texts), "pairs": st.lists(st.tuples(texts, texts))}
    ),
)
def test_a_template_says_what_jinja2_would(
    tmp_path_factory: pytest.TempPathFactory, source: str, values: dict[str, Any]
) -> None:
    expected = theirs(source, values)
    assert ours(tmp_path_factory.mktemp("units"), source, values) == expected


def test_a_value_that_is_missing_is_an_error(folder: Path) -> None:
    with pytest.raises(KeyError, match="name"):
        ours(folder, "{{ name }}", {})


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{{ name | upper }}", "upper"),
        ("{{ name.first }}", "first|Getattr"),
        ("{{ name() }}", "Call"),
        ("{{ 1 < name < 3 }}", "Compare"),
        ("{{ name in words }}", "Compare"),
        ("{% macro one() %}{% endmacro %}", "Macro|one"),
        ("{% include 'two.j2' %}", "Include"),
        ("{% for (a, b), c in words %}{% endfor %}", "a tuple in a tuple"),
        ("{% for a in words if a %}{% endfor %}", "For"),
        ("{% for a in words %}{% else %}none{% endfor %}", "For"),
        ("{% if a %}{% elif b %}{% endif %}", "If"),
        ("{% set a, b = name %}", "Assign"),
        ("{% if a %}{% set b = 1 %}{% endif %}", "Assign"),
    ],
)
def test_what_is_not_known_is_refused_with_its_place(folder: Path, source: str, what: str) -> None:
    with pytest.raises(jinja2.TemplateSyntaxError, match=what) as raised:
        ours(folder, f"first line\n{source}", {})
    assert (raised.value.filename, raised.value.lineno) == ("one.j2", 2)


def test_no_templates_are_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make install"):
        from_folder(folder)


def test_what_is_installed_needs_no_jinja2_and_does_not_show_where_it_was_built() -> None:
    made = []
    for folder in ("units", str(Path(ROOT, "units"))):
        command = [sys.executable, "-B", "-m", "svc.units.translate", folder]
        made.append(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert made[0] == made[1]
    assert "import" not in made[0]
