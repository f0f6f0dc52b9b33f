"""Two apps on one address: which of them is refused, and what it says."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

import pytest

from svc.app import App
from svc.config import conflicts
from svc.config.addresses import address


def app(name: str, *listen: str) -> App:
    return App(name, Path(f"/etc/svc/{name}.toml"), tuple(map(address, listen)), app="a:b")


def refused(*apps: App, running: Collection[str] = ()) -> list[str]:
    return sorted(conflicts(iter(apps), lambda name: name in running))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("0.0.0.0:80", "127.0.0.2:80", True),
        ("0.0.0.0:80", "0.0.0.0:81", False),
        ("0.0.0.0:80", "[::1]:80", False),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "127.0.0.1:80", True),
        ("[::]:80", "0.0.0.0:80", True),
        ("[::]:80", "127.0.0.1:81", False),
        ("[::1]:80", "[::2]:80", False),
        ("[::1]:80", "[0:0::1]:80", True),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", True),
        ("[::ffff:127.0.0.1]:80", "0.0.0.0:80", True),
        ("[::ffff:127.0.0.1]:80", "[::1]:80", False),
        ("unix:/run/a", "unix:/run/a", True),
        ("unix:/run/a", "unix:/run/b", False),
        ("unix:/run/a", "[::]:80", False),
    ],
)
def test_which_addresses_meet(one: str, other: str, meet: bool) -> None:
    expected = ["a", "b"] if meet else []
    assert refused(app("a", one), app("b", other)) == expected
    assert refused(app("a", other), app("b", one)) == expected


@pytest.mark.parametrize(("running", "expected"), [("", "ab"), ("ab", "ab"), ("a", "b"), ("b", "a")])
def test_the_one_that_runs_keeps_its_address(running: str, expected: str) -> None:
    assert refused(app("a", "0.0.0.0:80"), app("b", "0.0.0.0:80"), running=running) == list(expected)


@pytest.mark.parametrize(("running", "expected"), [("", ["b"]), ("a", ["b"]), ("b", ["a"]), ("ab", ["b"])])
def test_one_that_is_started_by_hand_yields(running: str, expected: list[str]) -> None:
    by_hand = dataclasses.replace(app("b", "0.0.0.0:80"), wanted_by=())
    assert refused(app("a", "0.0.0.0:80"), by_hand, running=running) == expected


def test_a_refused_newcomer_is_in_nobodys_way() -> None:
    apps = [app("a", "127.0.0.1:80"), app("b", "127.0.0.1:80", "127.0.0.1:81"), app("c", "127.0.0.1:81")]
    assert refused(*apps, running="a") == ["b"]
    assert refused(*apps) == ["a", "b", "c"]


def test_only_those_that_meet_are_asked_for() -> None:
    asked: list[str] = []

    def running(name: str) -> bool:
        asked.append(name)
        return False

    conflicts([app("a", "0.0.0.0:1"), app("b", "0.0.0.0:2"), app("c", "0.0.0.0:2")], running)
    assert sorted(asked) == ["b", "c"]


def test_the_error_names_the_other_file() -> None:
    found = conflicts([app("a", "0.0.0.0:80"), app("b", "127.0.0.1:80")], lambda name: name == "a")
    assert {name: str(problem) for name, problem in found.items()} == {
        "b": "/etc/svc/b.toml: listen: 127.0.0.1:80 is taken by /etc/svc/a.toml (0.0.0.0:80); "
        "choose another port for one of them"
    }


def test_an_example_yields_and_nothing_is_to_be_mended() -> None:
    example = dataclasses.replace(app("b", "0.0.0.0:80"), wanted_by=())
    for running in ("", "a"):
        found = conflicts([app("a", "0.0.0.0:80"), example], lambda name, now=running: name in now)  # type: ignore[misc]
        assert found["b"].yields
        assert str(found["b"]).endswith("; b, which starts only by hand, is left out")
    found = conflicts([app("a", "0.0.0.0:80"), example], lambda name: name == "b")
    assert not found["a"].yields
