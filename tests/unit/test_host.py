"""What is found out about the host."""

import os
from pathlib import Path

import pytest

from svc.units import host


def test_cpus_are_those_of_the_affinity_mask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "_CGROUP", tmp_path)
    assert host.cpus() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "garbage"}, 8),
    ],
)
def test_a_quota_limits_the_cpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(host, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert host.cpus() == expected


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        ("lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.9-1~deb13u1.so", 257),
        ("lib64/systemd/libsystemd-shared-255.so", 255),
        ("lib/systemd/libsystemd-shared-249.so", host.FLOOR),
        ("lib/systemd/libsystemd-shared-next.so", host.FLOOR),
        ("lib/systemd/other.so", host.FLOOR),
    ],
)
def test_systemd_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, expected: int
) -> None:
    (tmp_path / library).parent.mkdir(parents=True)
    (tmp_path / library).touch()
    monkeypatch.setattr(host, "_LIBRARIES", (str(tmp_path / "lib"), str(tmp_path / "lib64")))
    assert host.systemd_version() == expected


def test_svcctl_is_where_it_was_installed(tmp_path: Path) -> None:
    (tmp_path / "svcctl.path").write_text("/usr/local/sbin/svcctl\n")
    assert host._svcctl(tmp_path) == Path("/usr/local/sbin/svcctl")


def test_a_checkout_runs_its_own_svcctl() -> None:
    assert os.access(host.this_host().svcctl, os.X_OK)
