"""What a connection of uvicorn's needs in order to change hands; like `svc.worker.uvicorn_seam`, it knows
uvicorn's protocols from 0.17.6 to the newest.
"""

from typing import Any


def is_sending(protocol: Any) -> bool:
    """Whether a part of an answer is still to be written."""
    return bool(protocol.transport.get_write_buffer_size())


def is_movable(protocol: Any) -> bool:
    """Whether another process can go on with an idle connection as if it had just accepted it.

    Every byte of the answers must be written, and the last request must have come to its end: an
    application may answer before it does. Not with TLS, whose state is here. Both loops pass on what
    they read at once, so no byte is between the kernel and the protocol.
    """
    transport = protocol.transport
    return (
        not transport.is_closing()
        and transport.get_extra_info("ssl_object") is None
        and not is_sending(protocol)
        and _is_body_read(protocol)
    )


def _is_body_read(protocol: Any) -> bool:
    parser = getattr(protocol, "conn", None)
    if parser is None:  # httptools
        return protocol.cycle is None or not protocol.cycle.more_body
    return parser.their_state is parser.our_state  # h11: both idle


def socket_of(protocol: Any) -> Any:
    """Something whose fileno() is the connection's."""
    return protocol.transport.get_extra_info("socket")


def let_go(protocol: Any) -> None:
    """Close our descriptor only: no loop shuts a connection down, so it goes on where it has another."""
    protocol.transport.close()


def pause(protocol: Any) -> None:
    """Leave what the client sends in the kernel's buffer."""
    protocol.transport.pause_reading()


def resume(protocol: Any) -> None:
    """Read again, unless uvicorn has a reason of its own not to."""
    if not protocol.transport.is_closing() and not protocol.flow.read_paused:
        protocol.transport.resume_reading()


def expect_request(protocol: Any) -> None:
    """Close the connection when it stays idle too long, though it has not had a request here yet."""
    if protocol.timeout_keep_alive_task is None and protocol.scope is None:
        protocol.timeout_keep_alive_task = protocol.loop.call_later(
            protocol.timeout_keep_alive, protocol.timeout_keep_alive_handler
        )
