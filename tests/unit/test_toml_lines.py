"""The line of a key, for messages: right on plain documents, harmless on all others."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svc.config.toml_lines import line_of, lines

DOCUMENT = '''\
# a comment with [brackets] and a = sign
app = "mysite:app"  # key = "not a key"
listen = [
  "0.0.0.0:8000",   # ] not the end
  "[::]:8000",
]
text = """
drain = 1
\\""" workers = 2
"""
raw = \'\'\'
[nobody]
\'\'\'

"quoted key" = 1
'single' . "d\\u006fuble" = 2
[ limits ]
drain = 3
[a."b.c"]
x = { y = [1, 2], z = 3 }
[[many]]
name = "first"

[[many]]
name = "second"
last = 1'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("app",), 2),
        (("listen",), 3),
        (("text",), 7),
        (("raw",), 11),
        (("quoted key",), 15),
        (("single", "double"), 16),
        (("limits",), 17),
        (("limits", "drain"), 18),
        (("a", "b.c"), 19),
        (("a", "b.c", "x"), 20),
        (("a", "b.c", "x", "y"), 20),
        (("many", "name"), 22),
        (("many", "last"), 26),
        (("limits", "absent"), 17),
        (("drain",), None),
        (("workers",), None),
        (("nobody",), None),
        ((), None),
    ],
)
def test_the_line_of_a_key(path: tuple[str, ...], line: int | None) -> None:
    tomllib.loads(DOCUMENT)
    assert line_of(DOCUMENT, path) == line


def test_other_line_ends_count_too() -> None:
    text = "a = 1\r\n\r\n[b]\r\nc = 2\r\n"
    assert lines(text) == {("a",): 1, ("b",): 3, ("b", "c"): 4}


def test_an_endless_key_costs_little() -> None:
    assert line_of("a." * 50_000 + "a = 1", ("a", "a")) == 1


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text(st.sampled_from("[]{}=.\"'#\\\n\r\tabu0 ,"))))
def test_it_never_raises(text: str) -> None:
    assert all(1 <= line <= text.count("\n") + 1 for line in lines(text).values())


KEY = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.sampled_from(['"a b"', "'[x]'", '"#"', '"\\""'])
)
VALUE = st.sampled_from(
    [
        "1",
        '"#"',
        "'='",
        "true",
        "[1,\n 2, # ]\n 3]",
        '"""\nx = 1\n[y]"""',
        "'''\n''\n'''",
        "{ i = 1 }",
        '"\\\\"',
        "0.5",
    ]
)
TABLE = st.tuples(KEY, st.dictionaries(KEY, VALUE, max_size=4))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(TABLE, st.just("# [comment]"), st.just("")), max_size=6))
def test_plain_documents(parts: list[tuple[str, dict[str, str]] | str]) -> None:
    text = ""
    expected: dict[tuple[str, ...], int] = {}

    def name(key: str) -> str:
        return next(iter(tomllib.loads(f"{key} = 0")))

    for part in parts:
        if isinstance(part, str):
            text += part + "\n"
            continue
        header, keys = part
        if (name(header),) in expected:
            continue
        expected[name(header),] = text.count("\n") + 1
        text += f"[{header}]\n"
        for key, value in keys.items():
            expected[name(header), name(key)] = text.count("\n") + 1
            text += f"{key} = {value} # [{key} = 1\n"
    assert lines(text) == expected
