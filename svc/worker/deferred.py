"""Packages whose own code runs when a name of theirs is first asked for.

To use one module of a package runs the package's `__init__` first, and that may import ten times as much
as the module needs: uvicorn's brings its command line, reloaders and supervisors along. A worker has none of
those, and each of its siblings would hold them in memory and import them at each start.

To an application that imports such a package all is as ever, but for one thing: a module of it may now run
before its package. So this is for packages whose modules stand that, and few do: click's import each other
in a circle that only `click/__init__` opens.
"""

import importlib.util
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_running = threading.RLock()
_waiting: dict[ModuleType, ModuleSpec] = {}


def defer(name: str) -> None:
    """Let the module `name` be imported without running its code yet; it is found now, on today's path.

    One that is not there, and one that has been imported already, stay as they are.
    """
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Deferred
    _waiting[module] = spec
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


class _Deferred(ModuleType):
    """A module that has not run. `importlib.util.LazyLoader` would run it for each of its submodules too."""

    def __getattr__(self, name: str) -> Any:
        with _running:  # other threads wait, as for any import
            if spec := _waiting.pop(self, None):  # and while it runs, it has the names that it has
                try:
                    assert spec.loader is not None
                    spec.loader.exec_module(self)
                except BaseException:
                    _waiting[self] = spec
                    raise
        return ModuleType.__getattribute__(self, name)
