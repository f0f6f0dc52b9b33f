"""Values that travel between workers: what JSON has, and bytes. No pickle: a value is never code.

A value is encoded as one of three kinds (the numbers are part of the wire format, see
`svc.cluster.bus.wire`). Pure.
"""

import base64
import json
from typing import Any

JSON = 0
"""UTF-8 JSON, RFC 8259."""
BYTES = 1
"""The bytes themselves."""
JSON_WITH_BYTES = 2
"""JSON in which an object with the single key "$bytes" stands for bytes, in base64 (RFC 4648)."""

KEY = "$bytes"

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=True)
_encode = _encoder.encode
_decoder = json.JSONDecoder()
_BINARY = (bytes, bytearray, memoryview)
_scan = _decoder.scan_once  # type: ignore[attr-defined]  # what decode() itself calls


def _bytes_of(found: dict[str, Any]) -> object:
    if found.keys() == {KEY}:
        if not isinstance(found[KEY], str):
            raise ValueError(f"{KEY} stands for bytes in base64")
        return base64.b64decode(found[KEY], validate=True)
    return found


_decoder_with_bytes = json.JSONDecoder(object_hook=_bytes_of)


def encode(value: object) -> tuple[int, bytes]:
    """Return the kind of `value` and its bytes. Raises TypeError or ValueError when it cannot travel."""
    if isinstance(value, _BINARY):
        return BYTES, bytes(value)
    try:
        return JSON, _encode(value).encode()
    except TypeError:
        # Bytes are somewhere inside, which is rare; or something that cannot travel at all.
        return JSON_WITH_BYTES, _encode(_without_bytes(value)).encode()


def decode(kind: int, data: "bytes | memoryview") -> Any:
    """Return the value. Raises ValueError when `data` is not of this kind."""
    try:
        if kind == JSON:
            text = str(data, "utf-8")
            try:
                value, end = _scan(text, 0)
            except StopIteration:
                end = -1
            # Another language may have put white space around it.
            return value if end == len(text) else _decoder.decode(text)
        if kind == BYTES:
            return bytes(data)
        if kind == JSON_WITH_BYTES:
            return _decoder_with_bytes.decode(str(data, "utf-8"))
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    raise ValueError(f"{kind} is no kind of value")


def _without_bytes(value: object) -> object:
    if isinstance(value, _BINARY):
        return {KEY: base64.b64encode(value).decode()}
    if isinstance(value, dict):
        if KEY in value:
            raise ValueError(f"an object beside bytes cannot have the key {KEY!r}")
        return {key: _without_bytes(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_bytes(inner) for inner in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(
        f"a {type(value).__name__} cannot travel between workers: only what JSON has (None, bool, int, "
        "float, str, list, dict) and bytes"
    )
