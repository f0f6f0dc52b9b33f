"""The end of a connection in uvicorn's protocols."""

from typing import Any


def parting(protocol_class: Any) -> Any:
    """`protocol_class`, which waits no longer for a next request when the connection is gone.

    Uvicorn's timer for an idle connection goes on when the client has reset it, in older versions always, and
    until it has run out all that belongs to the connection would stay in memory.
    """

    def connection_lost(protocol: Any, exc: Exception | None) -> None:
        protocol_class.connection_lost(protocol, exc)
        if protocol.timeout_keep_alive_task is not None:
            protocol._unset_keepalive_if_required()

    return type(protocol_class.__name__, (protocol_class,), {"connection_lost": connection_lost})
