"""Print a line each time systemd says that a unit changed. Runs inside the machine.

    python3 signals.py UNIT

No bus and no subscription between: PID 1 sends every signal to whoever is connected to its private
socket. A line tells *that* the unit changed; what it is now is read with `systemctl show`. The
first line says that the connection is made, so that nothing after it is missed.
"""

import os
import re
import socket
import struct
import sys
import time
from collections.abc import Iterator

PRIVATE = "/run/systemd/private"

# A message starts with a fixed part: byte order, type, flags, version, length of the body, serial
# number, length of the fields. The fields are padded to eight bytes (D-Bus specification, "Message
# Format").
FIXED = 16
LITTLE_ENDIAN = ord("l")


def main() -> None:
    """Follow the signals until killed. A new connection counts as a change: anything may differ."""
    path = object_path(sys.argv[1])
    while True:
        with connect() as connection:
            print("connected", flush=True)
            for message in messages(connection):
                if path + b"\0" in message:
                    print("changed", flush=True)


def connect() -> socket.socket:
    """Connect and authenticate; the socket is away for a moment during a daemon-reexec."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    while connection.connect_ex(PRIVATE):
        time.sleep(0.01)  # nothing announces the new socket
    uid = str(os.getuid()).encode().hex()
    connection.sendall(f"\0AUTH EXTERNAL {uid}\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n"):
        answer += connection.recv(1) or b"\r\n"  # the manager may execute itself anew right now
    connection.sendall(b"BEGIN\r\n")
    return connection


def messages(connection: socket.socket) -> Iterator[bytes]:
    """The messages of a connection as they come, until the other side closes it."""
    buffer = b""
    while data := connection.recv(1 << 16):
        buffer += data
        while len(buffer) >= FIXED:
            order = "<" if buffer[0] == LITTLE_ENDIAN else ">"
            body, _, fields = struct.unpack_from(f"{order}III", buffer, 4)
            end = FIXED + (fields + 7) // 8 * 8 + body
            if len(buffer) < end:
                break
            yield buffer[:end]
            buffer = buffer[end:]


def object_path(unit: str) -> bytes:
    """The D-Bus object of a unit: every byte that is no letter and no inner digit is written `_xx`."""
    name = re.sub(rb"[^A-Za-z0-9]|^[0-9]", lambda match: b"_%02x" % match.group()[0], unit.encode())
    return b"/org/freedesktop/systemd1/unit/" + name


if __name__ == "__main__":
    main()
