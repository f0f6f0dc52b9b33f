"""Which apps are there? Only names and files: nothing is read, so that looking costs little.

The rules are those of systemd's own configuration: earlier directories win, an empty file or
a link to /dev/null masks, drop-ins of all directories are merged in the order of their names.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from svc.config.problems import ConfigError, Problem
from svc.folders import app_folders

SUFFIX = ".toml"


@dataclass(frozen=True, slots=True)
class SearchPath:
    """The directories that hold apps, the most important first; `user_scope`: of a user's own systemd."""

    directories: tuple[Path, ...]
    user_scope: bool = False

    @classmethod
    def system(cls, root: str | Path | None = None) -> "SearchPath":
        """Return the directories of the system; `svc.folders` says which."""
        folders = app_folders(root=None if root is None else str(root))
        return cls(tuple(map(Path, folders)))

    @classmethod
    def user(cls, environ: Mapping[str, str] = os.environ) -> "SearchPath":
        """Return the directories of the user whom `environ` describes."""
        return cls(tuple(map(Path, app_folders(user_scope=True, environ=environ))), user_scope=True)


@dataclass(frozen=True, slots=True)
class AppFiles:
    """The files of one app: `main` is NAME.toml, `dropins` are in the order in which they merge."""

    name: str
    main: Path
    dropins: tuple[Path, ...] = ()
    user_scope: bool = False
    broken: tuple[Problem, ...] = ()


def _entries(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield stem and path of each NAME.toml in `directory`; hidden files are not apps."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        cure = "make it readable, or run this as root"
        raise ConfigError(Problem(directory, None, "", f"cannot be read ({error.strerror})", cure)) from error
    for name in names:
        if name.endswith(SUFFIX) and not name.startswith("."):
            yield name.removesuffix(SUFFIX), directory / name


def _is_masked(path: Path) -> bool:
    """Say whether `path` is an empty file or a link to /dev/null. What cannot be seen is no mask."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size == 0)


def _first_found(directories: Iterable[Path]) -> dict[str, Path]:
    """Return {stem: path} of what is not masked, in the order of the stems."""
    found: dict[str, Path] = {}
    for directory in directories:
        for stem, path in _entries(directory):
            found.setdefault(stem, path)
    return {stem: path for stem, path in sorted(found.items()) if not _is_masked(path)}


def find(search: SearchPath) -> dict[str, AppFiles]:
    """Return the apps of `search` by name, sorted. Masked apps are absent.

    Raises ConfigError only for a directory of `search` that exists and cannot be read.
    """
    apps = {}
    for name, main in _first_found(search.directories).items():
        dropins: dict[str, Path] = {}
        broken: tuple[Problem, ...] = ()
        try:
            dropins = _first_found(directory / f"{name}{SUFFIX}.d" for directory in search.directories)
        except ConfigError as error:  # that costs this app, not all of them
            broken = error.problems
        apps[name] = AppFiles(name, main, tuple(dropins.values()), search.user_scope, broken)
    return apps
