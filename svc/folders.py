"""Where app files are looked for.

Imports only what every interpreter has loaded already: the generator asks here before all else.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

APP_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""What an app may be called: units, folders and cookies take on its name."""

ROOT_VARIABLE = "SVC_ROOT"
"""Environment variable that moves the root of the system's folders, for tests and images."""


def app_folders(
    *, user_scope: bool = False, root: str | None = None, environ: "Mapping[str, str]" = os.environ
) -> tuple[str, ...]:
    """Return the folders of app files, the most important first.

    A user's own come from the XDG base directory specification, where a relative path counts as
    unset; those of the administrator for all users from /etc/svc/user. Without `root`, $SVC_ROOT
    or / is the root; it moves the system's folders only.
    """
    root = root if root is not None else environ.get(ROOT_VARIABLE) or "/"
    if not user_scope:
        folders = ("etc/svc", "run/svc", "usr/local/lib/svc/apps", "usr/lib/svc/apps")
        return tuple(os.path.join(root, folder) for folder in folders)
    configuration = environ.get("XDG_CONFIG_HOME", "")
    if not configuration.startswith("/"):
        configuration = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    bases = (configuration, environ.get("XDG_RUNTIME_DIR", ""))
    own = [os.path.join(base, "svc") for base in bases if base.startswith("/")]
    return (*own, os.path.join(root, "etc/svc/user"))


def rollout_folder(
    name: str, *, user_scope: bool = False, root: str | None = None, environ: "Mapping[str, str]" = os.environ
) -> str:
    """Return the folder in which the coordinator of the app `name` keeps what it knows.

    `root` is as for `app_folders`. Without an XDG_RUNTIME_DIR there is no systemd of a user's.
    """
    return os.path.join(rollout_folders(user_scope=user_scope, root=root, environ=environ), name)


def rollout_folders(
    *, user_scope: bool = False, root: str | None = None, environ: "Mapping[str, str]" = os.environ
) -> str:
    """Return the folder that holds those of all apps that run."""
    root = root if root is not None else environ.get(ROOT_VARIABLE) or "/"
    run = environ.get("XDG_RUNTIME_DIR") or "/nonexistent" if user_scope else os.path.join(root, "run")
    return os.path.join(run, "svc", ".rollout")


def has_running(folder: str) -> bool:
    """Say whether an app may run, by the folder of its coordinator."""
    try:
        return bool(os.listdir(folder))
    except OSError:
        return False


def has_apps(folder: str) -> bool:
    """Say whether a folder holds an app file, masked or not."""
    try:
        return any(name.endswith(".toml") for name in os.listdir(folder))
    except OSError:
        return False
