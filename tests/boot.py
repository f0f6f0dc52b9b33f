"""Boot a throwaway systemd: an overlay over a root folder, started by systemd-nspawn.

`tests.machine` runs this file as a program, inside a mount namespace of its own. Every mount made
here is private to that namespace: when its last process ends the kernel removes all of them, also
after a kill -9. The program prepares the overlay and then becomes systemd-nspawn.
"""

import argparse
import os
import shutil
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path

# The parts of systemd itself that a test has no use for. All else that a package of the host would
# start is found by looking (`packaged_units`), so that a busy host boots as small as an empty one.
UNNEEDED = (
    "getty.target",
    "systemd-firstboot.service",
    "systemd-homed.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
    "var-lib-machines.mount",
)

# With --keep-unit, systemd-nspawn leaves a reboot to who started it (systemd-nspawn@.service).
REBOOTED = 133

# Where packages ask to be started from at boot.
WANTS = ("multi-user", "graphical", "sockets", "timers", "paths", "machines", "remote-fs")

# No rate limit: a test that looks for a line must not lose it to a chatty neighbour.
JOURNALD = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRuntimeMaxUse=256M\nForwardToConsole=no\n"


def main() -> None:
    """Mount the overlay, make it small, and run systemd-nspawn on it until the machine is switched off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="an empty folder, for the mounts")
    parser.add_argument("--name", required=True, help="the host name of the machine")
    parser.add_argument("--root", default="/", help="the folder under the overlay")
    parser.add_argument("--bind-ro", action="append", default=[], metavar="SOURCE:PATH")
    options = parser.parse_args()
    private("/run/systemd/nspawn")  # else systemd-nspawn leaves folders of each machine there
    root = mount(options.directory, options.root)
    prepare(root, options.name)
    nspawn = [
        *("setpriv", "--pdeathsig", "TERM"),  # should this process be killed, the machine is powered off
        "systemd-nspawn",
        "--quiet",
        f"--directory={root}",
        f"--machine={options.name}",
        "--boot",
        "--register=no",
        "--console=pipe",
        "--notify-ready=yes",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        *(f"--bind-ro={bind}" for bind in options.bind_ro),
    ]
    enter = None
    if not Path("/run/systemd/system").is_dir():
        nspawn.append("--keep-unit")  # no systemd on the host, hence nobody to ask for a scope
        enter = partial(own_cgroup, options.directory.parent.name)
    environment = os.environ | cgroups(root)
    status = REBOOTED
    while status == REBOOTED:
        status = subprocess.run(nspawn, env=environment, preexec_fn=enter, check=False).returncode
    sys.exit(status)


def private(directory: Path | str) -> None:
    """Put an empty file system in memory over a folder of the host, for this namespace alone."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", directory], check=True)


def mount(directory: Path, lower: str) -> Path:
    """The root of the new machine: `lower`, with every change kept in memory."""
    private(directory)
    upper, work, root = (directory / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir(mode=0o755)
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, root], check=True)
    return root


def prepare(root: Path, name: str) -> None:
    """Leave of the host's own set-up only what a small systemd needs."""
    etc, units = root / "etc", root / "etc/systemd/system"
    for gone in (units, etc / "systemd/system-generators", etc / "systemd/system.control", etc / "svc"):
        shutil.rmtree(gone, ignore_errors=True)
    # Storage=volatile still reads what is there: the host's own log, maybe gigabytes of it.
    shutil.rmtree(root / "var/log/journal", ignore_errors=True)
    units.mkdir(parents=True)
    # SysV scripts, fstab, cryptsetup, …: whatever a generator of the host makes belongs to the host.
    generators = etc / "systemd/system-generators"
    generators.mkdir()
    for generator in root.glob("usr/lib/systemd/system-generators/*"):
        if generator.name != "svc-generator":
            (generators / generator.name).symlink_to("/dev/null")
    for unit in {*UNNEEDED, *packaged_units(root)}:
        (units / unit).symlink_to("/dev/null")
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    write(etc / "systemd/journald.conf.d/zz-test.conf", JOURNALD)
    write(etc / "machine-id", f"{uuid.uuid4().hex}\n")  # none would start the first-boot questions
    write(etc / "hostname", f"{name}\n")
    write(etc / "fstab", "")


def packaged_units(root: Path) -> set[str]:
    """Units that packages other than systemd and dbus want started at boot."""
    wants = (root / f"usr/lib/systemd/system/{target}.target.wants" for target in WANTS)
    links = (link.name for folder in wants if folder.is_dir() for link in folder.iterdir())
    return {link for link in links if not link.startswith(("systemd-", "dbus"))}


def write(path: Path, text: str) -> None:
    """Write a new file, also where the host has a link that points out of the overlay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o644)


def own_cgroup(name: str) -> None:
    """Go into a cgroup of our own: systemd-nspawn names its two the same for every machine, and two
    machines in one cgroup kill each other's processes.
    """
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    places = {"": own.get("", "/")}
    if Path("/sys/fs/cgroup/systemd").is_dir():
        places = {"unified": own.get("", "/"), "systemd": own.get("name=systemd", "/")}
    for hierarchy, path in places.items():
        folder = Path("/sys/fs/cgroup") / hierarchy / path.lstrip("/") / name
        if folder.parent.is_dir():
            folder.mkdir(exist_ok=True)
            (folder / "cgroup.procs").write_text(str(os.getpid()))


def cgroups(root: Path) -> dict[str, str]:
    """What systemd-nspawn has to be told about cgroups.

    systemd 256 refuses to boot on the version 1 hierarchy, which systemd-nspawn passes on when the
    host has it mounted.
    """
    words = subprocess.run(
        ["chroot", root, "systemctl", "--version"], check=True, capture_output=True, text=True
    ).stdout.split()
    legacy = Path("/sys/fs/cgroup/systemd").is_dir()
    modern = int(words[1].partition("~")[0].partition(".")[0]) >= 256
    return {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if legacy and modern else {}


if __name__ == "__main__":
    main()
