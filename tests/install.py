"""svc in a throwaway machine: the folders it is given, and the installation itself."""

from pathlib import Path

from tests.machine import Machine

REPOSITORY = Path(__file__).parent.parent
SOURCE = "/usr/src/svc"
VENV = "/opt/svc-venv"
APPS = "/srv/apps"

# Bound, not reached through the overlay: a clone may be in a home that other users cannot enter.
SERVED = {
    REPOSITORY: "/run/host-svc",
    REPOSITORY / ".venv": VENV,
}

# A copy, since `make install` may write into the tree that it is called in. The applications are
# readable by every user, whatever the umask was that the clone was made with.
COPY = f"""
set -eu
mkdir -p {SOURCE}
cd /run/host-svc
tar -c --exclude='./.?*' --exclude=__pycache__ . | tar -x -C {SOURCE} --no-same-owner
cp -r {SOURCE}/tests/apps {APPS}
chmod -R a+rX {APPS}
"""


def install(machine: Machine) -> None:
    """Install svc into the machine as an administrator does, with `make install`."""
    machine.run("sh", "-c", COPY)
    machine.run("make", "--silent", "-C", SOURCE, "install", "PREFIX=/usr")
    machine.systemctl("daemon-reload")
