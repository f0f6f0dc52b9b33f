"""The templates of the units as functions: those that `make install` made, or made here in a checkout."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

Templates = Mapping[str, Callable[[Mapping[str, Any]], str]]
"""The function of each template by the template's name: values in, text out."""

MADE = "svc.units.translated"


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Return the text of a template, such as app.target.j2. A value that is missing is a KeyError."""
    return templates()[template](values)


@cache
def templates() -> Templates:
    """Return svc's own templates."""
    try:
        made: Templates = import_module(MADE).TEMPLATES
    except ModuleNotFoundError as error:
        if error.name != MADE:
            raise
        return from_folder(Path(__file__).resolve().parents[2] / "units")
    return made


def from_folder(folder: Path) -> Templates:
    """Translate the templates in a folder. Raises FileNotFoundError when there is none."""
    from svc.units.translate import translate  # jinja2 is dear, and only a checkout needs it

    names: dict[str, Templates] = {}
    exec(translate(folder), names)
    if not names["TEMPLATES"]:
        raise FileNotFoundError(f"no templates of units in {folder}; `make install` makes {MADE} of them")
    return names["TEMPLATES"]
