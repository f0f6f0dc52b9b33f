"""Compiled templates: used when they fit, and never a reason for another text or for none."""

from pathlib import Path

import jinja2
import pytest

from svc.units import templates

SOURCE = "{% for word in words %}{{ word }} {% endfor %}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one template, compiled."""
    (tmp_path / "one.j2").write_text(SOURCE)
    templates.save(tmp_path)
    return tmp_path


def text(folder: Path) -> str:
    """Return the template's text, by an environment that has seen nothing yet."""
    compiled = templates.Compiled(folder / "__pycache__")
    return templates.environment(folder, compiled).get_template("one.j2").render(words=["a", "b"])


def compiled_file(folder: Path) -> Path:
    """Return the one file that was compiled."""
    (file,) = (folder / "__pycache__").iterdir()
    return file


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make compiling a template an error."""

    def compile_(*_: object, **__: object) -> None:
        raise AssertionError("a template was compiled")

    monkeypatch.setattr(jinja2.Environment, "compile", compile_)


def test_what_was_compiled_is_not_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_compiling(monkeypatch)
    assert text(folder) == "a b \n"


def test_a_template_that_changed_since_is_compiled_anew(folder: Path) -> None:
    (folder / "one.j2").write_text("changed: " + SOURCE)
    assert text(folder) == "changed: a b \n"


def test_a_damaged_file_is_as_good_as_none(folder: Path) -> None:
    whole = compiled_file(folder).read_bytes()
    for length in range(0, len(whole), 7):
        compiled_file(folder).write_bytes(whole[:length])
        assert text(folder) == "a b \n", length
    compiled_file(folder).write_bytes(whole[:-9] + bytes(9))
    assert text(folder) == "a b \n"


def test_another_python_compiles_for_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = compiled_file(folder)
    file.rename(file.with_name(file.name.replace("cpython", "other")))
    with monkeypatch.context() as patched:
        forbid_compiling(patched)
        with pytest.raises(AssertionError, match="was compiled"):
            text(folder)
    assert text(folder) == "a b \n"


def test_where_a_package_was_built_does_not_show(tmp_path: Path) -> None:
    made = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.j2").write_text(SOURCE)
        templates.save(tmp_path / name)
        made.append(compiled_file(tmp_path / name).read_bytes())
    assert made[0] == made[1]


def test_only_an_installation_writes(tmp_path: Path) -> None:
    (tmp_path / "one.j2").write_text(SOURCE)
    assert text(tmp_path) == "a b \n"
    assert [path.name for path in tmp_path.iterdir()] == ["one.j2"]
