"""What rendering must know of the host: its CPUs, its systemd, where svc is installed."""

import os
from dataclasses import dataclass
from pathlib import Path

# The oldest systemd that svc supports. What cannot be found out is taken to be this one.
FLOOR = 252

_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Host:
    """The facts that make one host's units differ from another's.

    `cpus` is the number that `workers = "auto"` means, `systemd` the version that reads the units,
    `library` the folder that holds the package svc (it goes into a worker's PYTHONPATH), `svcctl`
    the absolute path of that command, and `user_scope` says that a user's manager reads the units.
    """

    cpus: int
    systemd: int = FLOOR
    library: str = "/usr/lib/svc/python"
    svcctl: str = "/usr/bin/svcctl"
    user_scope: bool = False


def this_host(*, user_scope: bool = False) -> Host:
    """Find out about the host that this process runs on. Talks to no other process."""
    library = Path(__file__).resolve().parents[2]
    return Host(
        cpus=cpus(),
        systemd=systemd_version(),
        library=str(library),
        svcctl=str(_svcctl(library)),
        user_scope=user_scope,
    )


def cpus() -> int:
    """Count the CPUs that this host gives us: the affinity mask, and no more than the cgroup's quota.

    A quota of 2.5 CPUs counts as 3. Sources: sched_getaffinity(2); `cpu.max` in the kernel's
    cgroup-v2.rst; `cpu.cfs_quota_us` in sched-bwc.rst.
    """
    count = len(os.sched_getaffinity(0))
    quota = _quota(_CGROUP)
    return max(1, count if quota is None else min(count, quota))


def _quota(root: Path) -> int | None:
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((root / name).read_text() for name in files).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):
            continue  # not this version of cgroups, or "max": no limit
        if quota > 0 and period > 0:
            return -(-quota // period)
    return None


def systemd_version() -> int:
    """Find the version of the installed systemd by the name of its private library.

    A generator may start no process, and systemd tells it no version (systemd.generator(7)).
    """
    for base in _LIBRARIES:
        for folder in (Path(base, "systemd"), *Path(base).glob("*-linux-gnu*/systemd")):
            for library in sorted(folder.glob("libsystemd-shared-*.so")):
                digits = (
                    library.name.removeprefix("libsystemd-shared-").split(".")[0].split("-")[0].split("~")[0]
                )
                if digits.isdigit():
                    return max(FLOOR, int(digits))
    return FLOOR


def _svcctl(library: Path) -> Path:
    try:  # `make install` says where it put the command
        return Path((library / "svcctl.path").read_text(encoding="utf-8").rstrip("\n"))
    except OSError:  # a checkout has its own command to run from
        return library / "packaging" / "bin" / "svcctl"
