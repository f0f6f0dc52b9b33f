"""The folder under /run where the workers of an app meet: sockets, locks and shared state."""

import os
from collections.abc import Mapping
from pathlib import Path


def runtime_directory(name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The runtime directory that systemd made for the app `name`; None when there is none.

    RUNTIME_DIRECTORY has several, separated by colons, when the unit was given more (systemd.exec(5)).
    """
    for folder in environ.get("RUNTIME_DIRECTORY", "").split(":"):
        if folder.endswith(f"/svc/{name}"):
            return Path(folder)
    return None
