"""Which worker owns a key: rendezvous hashing (Thaler and Ravishankar, 1998).

Each slot has a score for each key, and the highest owns it. When a slot is added it takes one key in N,
and no other key moves. Pure.
"""

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio


def owner(key: "str | bytes", slots: int) -> int:
    """Return the slot, 0 to `slots` - 1, that owns `key`: the same in every process, of every version."""
    from hashlib import blake2b

    if not isinstance(key, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"a key is a text or bytes, not {key!r}: cluster.owner(str(key))")
    data = key.encode() if isinstance(key, str) else bytes(key)
    start = int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
    return max(range(slots), key=lambda slot: (_mix(start + (slot + 1) * _STEP), slot))


def _mix(number: int) -> int:
    """The output step of SplitMix64 (Steele, Lea and Flood, 2014): every bit depends on every other."""
    number &= _MASK
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _MASK
    return number ^ (number >> 31)
