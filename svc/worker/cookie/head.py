"""What a request's head says of the cookie. Pure."""

END = b"\r\n\r\n"


def name_of(app: str) -> bytes:
    """The cookie's name: one for each app, because a browser takes all ports of a host for the same site."""
    return b"svc-" + app.encode("ascii")


def named_by(value: bytes, name: bytes) -> str:
    """The slot that the value of a Cookie header names (RFC 6265, section 4.2); "" when it names none."""
    for pair in value.split(b";"):
        key, _, slot = pair.strip(b" \t").partition(b"=")
        if key == name:
            return slot.decode() if slot.isdigit() and len(slot) <= 4 and slot == b"%d" % int(slot) else ""
    return ""


def named_in(head: bytes, name: bytes) -> str:
    """The same of a whole head, or of its beginning, as it came from the client (RFC 9112, section 2.1)."""
    for line in head.partition(END)[0].split(b"\r\n")[1:]:
        field, _, value = line.partition(b":")
        if field.lower() == b"cookie" and (slot := named_by(value, name)):
            return slot
    return ""


def header(name: bytes, slot: str) -> tuple[bytes, bytes]:
    """The header that sets the cookie, for as long as the browser runs."""
    return b"set-cookie", b"%s=%s; Path=/; HttpOnly; SameSite=Lax" % (name, slot.encode())
