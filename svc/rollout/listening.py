"""Which addresses are open on this host, as the kernel tells it (proc(5): /proc/net)."""

import socket
import struct
from pathlib import Path

from svc.app import Family, Listen

_TCP_LISTEN = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h
_SO_ACCEPTCON = 0x10000  # __SO_ACCEPTCON in include/uapi/linux/net.h: a unix socket that listens


def is_open(listen: Listen, proc: Path = Path("/proc")) -> bool:
    """Say whether somebody listens on exactly this address."""
    if listen.family is Family.UNIX:
        return listen.path in _unix_paths(proc)
    table = "tcp6" if listen.family is Family.INET6 else "tcp"
    return f"{_hex(listen)}:{listen.port:04X}" in _tcp_listeners(proc / "net" / table)


def _tcp_listeners(table: Path) -> set[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except FileNotFoundError:  # a host without IPv6
        return set()
    return {row[1] for row in rows if row[3] == _TCP_LISTEN}


def _unix_paths(proc: Path) -> set[str]:
    rows = [line.split(maxsplit=7) for line in (proc / "net" / "unix").read_text().splitlines()[1:]]
    return {row[7] for row in rows if len(row) == 8 and int(row[3], 16) & _SO_ACCEPTCON}


def _hex(listen: Listen) -> str:
    # The kernel prints an address as 32-bit words in its own byte order.
    family = socket.AF_INET6 if listen.family is Family.INET6 else socket.AF_INET
    packed = socket.inet_pton(family, listen.host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words)
