"""svcctl as a user runs it whose home is a folder, and who has no systemd."""

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.worker.process import ROOT


def svcctl(home: Path, *argv: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run `svcctl --user` to its end, with `env` besides."""
    return subprocess.run(
        [sys.executable, "-m", "svc.ctl", "--user", *argv],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PYTHONPATH": str(ROOT),
            **env,
        },
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
