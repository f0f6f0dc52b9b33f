"""What the figures were measured on: the machine, and the versions of everything that takes part."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path

from tests.bench import peers, proc

PACKAGES = ("uvicorn", "uvloop", "httptools", "gunicorn", "granian", "hypercorn", "flask", "starlette")


def machine() -> dict[str, str]:
    """CPUs, memory, kernel."""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "CPUs": str(proc.cpu_count()),
        "CPU": models[0] if models else platform.machine(),
        "memory": f"{memory:.0f} GiB",
        "kernel": re.split(r"[^0-9.]", platform.release())[0],
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }


def versions() -> dict[str, str]:
    """Of svc, the interpreter, the packages in the environment of the peers, and Node's."""
    script = (
        "import importlib.metadata as m, json, platform, sys\n"
        "found = {'Python': platform.python_version()}\n"
        "for name in sys.argv[1:]: found[name] = m.version(name)\n"
        "print(json.dumps(found))"
    )
    found: dict[str, str] = json.loads(_said(str(peers.PYTHON), "-c", script, *PACKAGES))
    from svc import __version__

    found["Node"] = _said("node", "--version").removeprefix("v")
    package = peers.PM2.parent / "package.json"
    if package.is_file():
        found["PM2"] = json.loads(package.read_text("utf-8"))["version"]
    found["systemd"] = _said("systemctl", "--version").split()[1]
    return {"svc": __version__, **found}


def _said(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
