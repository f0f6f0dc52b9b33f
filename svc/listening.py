"""Which addresses are open on this host, as the kernel tells it (proc(5): /proc/net)."""

import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from svc.app import Family, Listen

_TCP_LISTEN = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h
_SO_ACCEPTCON = 0x10000  # __SO_ACCEPTCON in include/uapi/linux/net.h: a unix socket that listens
_TABLES = (("tcp", Family.INET), ("tcp6", Family.INET6))


def is_open(listen: Listen, proc: Path = Path("/proc")) -> bool:
    """Say whether somebody listens on exactly this address."""
    if listen.family is Family.UNIX:
        return listen.path in _unix_paths(proc)
    return str(listen) in tcp_listeners(proc)


def tcp_listeners(proc: Path = Path("/proc")) -> Counter[str]:
    """Count the listeners by address, "127.0.0.1:8000" or "[::1]:8000": SO_REUSEPORT allows many."""
    return Counter(str(listen) for table, family in _TABLES for listen in _read(proc / "net" / table, family))


def _read(table: Path, family: Family) -> Iterator[Listen]:
    try:
        with table.open() as rows:
            next(rows)
            for row in rows:
                _, address, _, state, *_ = row.split()
                # Listeners come first (tcp_seq_next() in net/ipv4/tcp_ipv4.c), and there may be a
                # hundred thousand connections after them.
                if state != _TCP_LISTEN:
                    return
                yield _parse(address, family)
    except FileNotFoundError:  # a host without IPv6
        return


def _parse(address: str, family: Family) -> Listen:
    # The kernel prints an address as 32-bit words in its own byte order.
    words, _, port = address.partition(":")
    packed = b"".join(
        int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8)
    )
    kind = socket.AF_INET6 if family is Family.INET6 else socket.AF_INET
    return Listen(family, socket.inet_ntop(kind, packed), int(port, 16))


def _unix_paths(proc: Path) -> set[str]:
    rows = [line.split(maxsplit=7) for line in (proc / "net" / "unix").read_text().splitlines()[1:]]
    return {row[7] for row in rows if len(row) == 8 and int(row[3], 16) & _SO_ACCEPTCON}
