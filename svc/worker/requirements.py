"""What a worker needs of others, imported: uvicorn, as little of it as can be, and sdnotify.

Most of the memory that a worker takes beside its application is modules, and most of its own start is
importing them. Of uvicorn's the command line (with click), the supervisors and the means to configure
logging are the greater part, and nothing that a worker uses.
"""

import importlib
import importlib.util
import re
import sys
from importlib.machinery import SourceFileLoader

from svc.worker.deferred import defer
from svc.worker.log import WorkerError

OLDEST = (0, 17, 6)
# The last one is imported by websockets, for versions of it that were not released.
_NOT_NEEDED = ("uvicorn", "logging.config", "importlib.metadata")


def require() -> None:
    """Import uvicorn and sdnotify. Raises WorkerError, with the command that installs them.

    To be called before the application's directory is on the path: modules in it must not take the
    place of those that uvicorn imports.
    """
    missing = [name for name in ("uvicorn", "sdnotify") if importlib.util.find_spec(name) is None]
    if missing:
        raise WorkerError(f"{sys.executable} has no {' and no '.join(missing)}; install with: {_cure()}")
    for name in _NOT_NEEDED:
        defer(name)
    _import("config", "server", "protocols.http.auto")
    package = sys.modules["uvicorn"]
    package.Config = sys.modules["uvicorn.config"].Config  # type: ignore[attr-defined] # for uvicorn.lifespan
    version = _version()
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise WorkerError(
            f"uvicorn {version} is too old, {oldest} is the oldest supported; install with: {_cure()}"
        )


def require_websockets() -> None:
    """Import what uvicorn has for WebSockets, if there is a library for them. Raises WorkerError.

    To be called for applications that can have them: it costs a fifth of what uvicorn does.
    """
    _import("protocols.websockets.auto")


def _import(*modules: str) -> None:
    try:
        for module in modules:
            importlib.import_module(f"uvicorn.{module}")
    except ImportError as error:
        raise WorkerError(
            f"uvicorn of {sys.executable} cannot be used: {error}; install with: {_cure()}"
        ) from None


def _version() -> str:
    """Read it from the source: to run uvicorn's `__init__` for it would import all that is not needed."""
    package = sys.modules["uvicorn"]
    loader = importlib.util.find_spec("uvicorn").loader  # type: ignore[union-attr]
    source = loader.get_source("uvicorn") if isinstance(loader, SourceFileLoader) else None
    found = re.search(r'^__version__ = "([^"]+)"$', source or "", re.MULTILINE)
    return found[1] if found else str(package.__version__)


def _cure() -> str:
    return f"{sys.executable} -m pip install --upgrade uvicorn sdnotify"
