"""The templates of the units, compiled once: by `make install`, not at every boot.

To read and compile a template takes four times as long as to load what the compiler made of it, and the
generator pays at each boot and daemon-reload. What was compiled carries the checksum of its template and the
version of Python: where one of them has changed since, the template is compiled anew, as in a checkout.
"""

import sys
from functools import cache
from pathlib import Path
from types import CodeType

import jinja2
from jinja2.bccache import Bucket, BytecodeCache


class Compiled(BytecodeCache):
    """Compiled templates beside their sources, in __pycache__ as Python has it. Written by `save` only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """Return a name that does not depend on where the templates lie: packages are built elsewhere."""
        del filename
        return f"{name}.{sys.implementation.cache_tag}.pyc"

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load a template if it is there and whole."""
        try:
            with (self.folder / bucket.key).open("rb") as file:
                bucket.load_bytecode(file)
        except Exception:  # a damaged file (a power cut while it was written) is one that is not there
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write nothing: a generator has a read-only file system, and a check leaves no trace."""


class _Saving(Compiled):
    def dump_bytecode(self, bucket: Bucket) -> None:
        with (self.folder / bucket.key).open("wb") as file:
            bucket.write_bytecode(file)


class _Environment(jinja2.Environment):
    """Byte code that says only the template's name: the folder of a package's build is nobody's business."""

    def _compile(self, source: str, filename: str) -> CodeType:
        return compile(source, Path(filename).name, "exec")


def environment(folder: Path, compiled: Compiled) -> jinja2.Environment:
    """Return the environment of the templates in `folder`."""
    # Units are no HTML; what must be escaped is escaped by svc.units.escape.
    return _Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        bytecode_cache=compiled,
    )


@cache
def templates() -> jinja2.Environment:
    """Return the environment of svc's own templates."""
    # Beside the package in a checkout, one folder up where it is installed (…/svc/{python,units}).
    here = Path(__file__).resolve().parents[2]
    folder = next((folder for folder in (here / "units", here.parent / "units") if folder.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"no templates of units near {here}; `make install` installs them")
    return environment(folder, Compiled(folder / "__pycache__"))


def save(folder: Path) -> None:
    """Compile every template in `folder`, for `make install`."""
    compiled = _Saving(folder / "__pycache__")
    compiled.folder.mkdir(exist_ok=True)
    saving = environment(folder, compiled)
    for name in saving.list_templates(extensions=["j2"]):
        saving.get_template(name)


if __name__ == "__main__":
    save(Path(sys.argv[1]))
