"""Which listener of a group a new connection goes to: a small program that the kernel runs at each SYN.

All listeners of an address form one group (SO_REUSEPORT, socket(7)), and a classic BPF program that is
attached to any of them decides for all (SO_ATTACH_REUSEPORT_CBPF, socket(7)): it sees the packet, and
returns the listener's place in the group. Places are given in the order of listen(2), and stay as long as
none is closed: systemd holds them all, so a place outlives every worker.

The program counts only the listeners that its worker knows. So one that was opened a moment ago, for
workers that are still to come, gets no connection before somebody is there who accepts from it.
"""

import array
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from svc.worker.listeners import Listener
from svc.worker.log import Journal

SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h; Python has no name for it

# linux/filter.h, linux/bpf_common.h. Loads with a negative offset reach what is not the payload.
_NET = 0xFFF00000  # SKF_NET_OFF: from the network header on
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_LD_W, _LD_B, _TAX, _RET_A = 0x20, 0x30, 0x07, 0x16  # load a word or a byte, X = A, return A
_RSH, _MUL, _MOD, _XOR_X, _JEQ = 0x74, 0x24, 0x94, 0xAC, 0x15

Instruction = tuple[int, int, int, int]
"""What struct sock_filter holds: code, jump if true, jump if false, operand."""

Program = tuple[Instruction, ...]


def _do(code: int, operand: int = 0) -> Instruction:
    return code, 0, 0, operand


def _folded(bits: int) -> Program:
    """A = A ^ (A >> bits)."""
    return _do(_TAX), _do(_RSH, bits), _do(_XOR_X)


# MurmurHash3's last step (Appleby, public domain): every bit of A comes to depend on every other.
_MIXED: Program = (
    *_folded(16),
    _do(_MUL, 0x85EBCA6B),
    *_folded(13),
    _do(_MUL, 0xC2B2AE35),
    *_folded(16),
)


def at_random(listeners: int) -> Program:
    """Give each connection to any of the first `listeners`."""
    return _do(_LD_W, _RANDOM), _do(_MOD, listeners), _do(_RET_A)


def by_address(listeners: int) -> Program:
    """Give connections from one IPv4 address, or from one /64 of IPv6, to the same listener, always.

    A dual-stack listener gets IPv4 too: what the packet is tells the version in its header.
    """
    v6: Program = (_do(_LD_W, _NET + 8), *_MIXED, _do(_TAX), _do(_LD_W, _NET + 12), _do(_XOR_X))
    v4: Program = (_do(_LD_W, _NET + 12),)
    return (
        _do(_LD_B, _NET),
        _do(_RSH, 4),
        (_JEQ, 0, len(v6) + 1, 6),
        *v6,
        _do(0x05, len(v4)),  # jump over
        *v4,
        *_MIXED,
        _do(_MOD, listeners),
        _do(_RET_A),
    )


@lru_cache(4096)
def place_of(address: str, listeners: int) -> int:
    """What `by_address` returns for a client's address, as Python writes it."""
    if "." in address:
        address = address.removeprefix("::ffff:")  # IPv4 on a dual-stack listener
    if ":" not in address:
        return _mix(struct.unpack(">I", socket.inet_aton(address))[0]) % listeners
    high, low = struct.unpack(">II", socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8])
    return _mix(_mix(high) ^ low) % listeners


def _mix(word: int) -> int:
    word ^= word >> 16
    word = word * 0x85EBCA6B & 0xFFFFFFFF
    word ^= word >> 13
    word = word * 0xC2B2AE35 & 0xFFFFFFFF
    return word ^ word >> 16


def attach(listener: socket.socket, program: Iterable[Instruction]) -> None:
    """Let `program` decide for the whole group of `listener`. Raises OSError where it has no group."""
    code = array.array("B", b"".join(struct.pack("=HBBI", *one) for one in program))
    address, length = code.buffer_info()
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", length // 8, address))


def steer(listeners: Sequence[Listener], program: Callable[[int], Program], journal: Journal) -> None:
    """Attach `program` to each group among `listeners`. Where that fails, the kernel decides."""
    groups: dict[object, list[Listener]] = {}
    for listener in listeners:
        if listener.is_tcp:
            groups.setdefault(listener.sock.getsockname(), []).append(listener)
    for group in groups.values():
        try:
            attach(group[0].sock, program(len(group)))
        except OSError as error:
            if len(group) > 1 or program is by_address:
                journal.warning(
                    f"listener {group[0]}: {error.strerror}; clients come to any worker "
                    "(the socket units need ReusePort=yes)"
                )
