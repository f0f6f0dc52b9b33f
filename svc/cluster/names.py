"""Names that applications choose, as names of files. Pure."""

_LONGEST = 200  # NAME_MAX is 255
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def file_name(name: str) -> str:
    """Return a file name for any text: readable where that is possible, and never the same for two texts."""
    data = name.encode("utf-8", "surrogatepass")
    plain = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in data)
    if plain and len(plain) <= _LONGEST:
        return plain
    from hashlib import blake2b

    return f"={blake2b(data, digest_size=32).hexdigest()}"
