"""A deferred package runs when it is asked for something, once, and is then as any other."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from svc.worker.deferred import defer


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The `__init__` of a package on the path, which has a module `part`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "part.py").write_text("VALUE = 1\n")
    (tmp_path / "ran.py").write_text("TIMES = []\n")
    yield tmp_path / "late" / "__init__.py"
    for name in ("late", "late.part", "late.other", "ran"):
        sys.modules.pop(name, None)


def ran() -> int:
    times: list[None] = importlib.import_module("ran").TIMES
    return len(times)


RAN = "import ran\nran.TIMES.append(None)\n"


def test_its_modules_are_imported_without_it(package: Path) -> None:
    package.write_text(RAN + "from late.part import VALUE\nname = VALUE + 1\n")
    defer("late")
    assert importlib.import_module("late.part").VALUE == 1
    assert importlib.import_module("late").part.VALUE == 1
    assert ran() == 0


def test_it_runs_once_when_it_is_asked(package: Path) -> None:
    package.write_text(RAN + "from late.part import VALUE\nname = VALUE + 1\n__version__ = '2'\n")
    defer("late")
    late = importlib.import_module("late")
    from late import name  # type: ignore[import-not-found]

    assert (name, late.name, late.__version__, ran()) == (2, 2, "2", 1)
    with pytest.raises(AttributeError, match="module 'late' has no attribute 'nothing'"):
        _ = late.nothing
    assert ran() == 1


def test_while_it_runs_it_has_the_names_that_it_has(package: Path) -> None:
    package.write_text(RAN + "import late\nbefore = hasattr(late, 'name')\nname = 1\nafter = late.name\n")
    defer("late")
    late = importlib.import_module("late")
    assert (late.before, late.after, ran()) == (False, 1, 1)


def test_its_own_getattr_is_asked(package: Path) -> None:
    package.write_text("def __getattr__(name):\n    return name.upper()\n")
    defer("late")
    late = importlib.import_module("late")
    assert late.name == "NAME"
    assert late.other == "OTHER"


def test_what_it_raises_is_raised_each_time(package: Path) -> None:
    package.write_text(RAN + "raise LookupError('broken')\n")
    defer("late")
    late = importlib.import_module("late")
    for times in (1, 2):
        with pytest.raises(LookupError, match="broken"):
            _ = late.name
        assert ran() == times


def test_other_threads_wait_until_it_has_run(package: Path) -> None:
    package.write_text(RAN + "ran.entered.set()\nassert ran.go.wait(30)\nname = 1\n")
    seen: Any = importlib.import_module("ran")
    seen.entered, seen.go, asking = threading.Event(), threading.Event(), threading.Event()
    defer("late")
    late = importlib.import_module("late")
    got: list[int] = []

    def second() -> None:
        assert seen.entered.wait(30)
        asking.set()
        got.append(late.name)

    threads = [threading.Thread(target=lambda: got.append(late.name)), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    assert asking.wait(30)
    seen.go.set()
    for thread in threads:
        thread.join(30)
    assert (got, ran()) == ([1, 1], 1)


def test_a_module_of_a_package_is_found_by_its_parent(package: Path) -> None:
    package.write_text("")
    (package.parent / "other.py").write_text(RAN + "name = 1\n")
    late = importlib.import_module("late")
    defer("late.other")
    importlib.import_module("late.other")
    assert ran() == 0
    assert (late.other.name, ran()) == (1, 1)


def test_what_is_found_is_what_was_there_when_it_was_deferred(package: Path, tmp_path: Path) -> None:
    package.write_text("name = 'the right one'\n")
    defer("late")
    nearer = tmp_path / "nearer"
    nearer.mkdir()
    (nearer / "late.py").write_text("name = 'the wrong one'\n")
    sys.path.insert(0, str(nearer))
    try:
        assert importlib.import_module("late").name == "the right one"
        assert importlib.import_module("late.part").VALUE == 1
    finally:
        sys.path.remove(str(nearer))


def test_what_is_not_there_and_what_is_imported_stay_as_they_are(package: Path) -> None:
    package.write_text(RAN)
    late = importlib.import_module("late")
    defer("late")
    defer("there_is_no_such_package")
    assert sys.modules["late"] is late
    assert ran() == 1
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("there_is_no_such_package")
