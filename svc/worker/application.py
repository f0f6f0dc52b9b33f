"""Load the application, and find out whether it is ASGI or WSGI by looking at it."""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from svc.worker.log import WorkerError

Application = Callable[..., Any]


class Interface(StrEnum):
    """How the application is called."""

    ASGI = "asgi"
    WSGI = "wsgi"


def add_directory(directory: str) -> None:
    """Put the application's directory first on the path, where `python -m` would have put it.

    The worker starts with -P, so that a module called `svc` or `asyncio` in that directory cannot
    break its start; what it needs itself is imported by now.
    """
    if not sys.path or sys.path[0] != directory:
        sys.path.insert(0, directory)


def load(target: str, directory: str) -> Application:
    """The object that `target`, "module:attribute.attribute", names.

    Raises WorkerError when it is not there. What the module itself raises passes through
    unchanged, so that its traceback is seen.
    """
    module_name, colon, path = target.partition(":")
    if not module_name or not colon or not path:
        raise WorkerError(f"app = {target!r}: write module:attribute, for example mysite.asgi:application")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not _is_itself(error.name, module_name):
            raise
        if module_name.partition(".")[0] == "svc":
            raise WorkerError(
                f"app = {target!r}: the name svc is taken, by svc; rename the package"
            ) from None
        raise WorkerError(
            f"app = {target!r}: no module named {error.name!r} in {directory} or in the packages of "
            f"{sys.executable}; check directory and python, or install it there"
        ) from None
    for index, attribute in enumerate(path.split(".")):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            owner = ".".join([module_name, *path.split(".")[:index]])
            import difflib  # dear, and only needed here

            names = difflib.get_close_matches(attribute, _callables(found), n=3) or _callables(found)[:5]
            hint = f"; it has {', '.join(names)}" if names else ""
            raise WorkerError(f"app = {target!r}: {owner} has no attribute {attribute!r}{hint}") from None
    if not callable(found):
        raise WorkerError(
            f"app = {target!r} is a {type(found).__name__}, which cannot be called; "
            "name the application object"
        )
    return found  # type: ignore[no-any-return]


def _is_itself(missing: str | None, wanted: str) -> bool:
    """Whether the module that was asked for is missing, or one of its parents, and not one it imports."""
    return missing is not None and (wanted == missing or wanted.startswith(missing + "."))


def _callables(owner: object) -> list[str]:
    found = []
    for name in dir(owner):
        value = inspect.getattr_static(owner, name)
        # Not what the module only imported for its own use: classes and functions of elsewhere.
        if name.startswith("_") or not callable(value) or inspect.isclass(value):
            continue
        found.append(name)
    return found


def interface_of(target: str, app: Application) -> Interface:
    """Whether `app` is ASGI or WSGI. Raises WorkerError when it is neither, or could be both."""
    if _is_async(app):
        return Interface.ASGI
    arity = _arity(app)
    if arity == 3:
        return Interface.ASGI
    if arity == 2:
        return Interface.WSGI
    if arity == 1:
        raise WorkerError(
            f"app = {target!r} takes one argument, and that is neither WSGI (two) nor ASGI 3 (three). "
            "An application of the old ASGI 2: wrap it in asgiref.compatibility.guarantee_single_callable. "
            "A factory: name a module that calls it"
        )
    raise WorkerError(
        f"app = {target!r}: cannot tell whether this is ASGI or WSGI; "
        'set interface = "asgi" or interface = "wsgi"'
    )


def _is_async(app: Any) -> bool:
    """Whether calling `app` gives a coroutine, seen through partials, methods and honest decorators."""
    while isinstance(app, functools.partial):
        app = app.func
    if inspect.isclass(app):
        return False  # calling a class makes an instance; its parameters tell what it is
    call = app if inspect.isroutine(app) else getattr(app, "__call__", None)  # noqa: B004 - also set on instances
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(inspect.unwrap(call))  # type: ignore[arg-type]


def _arity(app: Application) -> int | None:
    """How many positional arguments `app` must be given; None when any number will do or nobody knows."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return None  # made in C, or called in a way of its own
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    required = [p for p in positional if p.default is p.empty]
    return len(required) if required else len(positional)


def working_directory() -> str:
    """Where the worker was started: WorkingDirectory= of its unit."""
    return str(Path.cwd())
