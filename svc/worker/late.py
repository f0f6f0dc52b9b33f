"""Errors of an application that has given its whole answer already.

Uvicorn closes the connection after each error, and the next request may be in progress on it by then. But
work after an answer, and the close() of an iterable, may fail without any harm to the client.
"""

from typing import Any

from svc.worker.middleware import Asgi


def is_late(cycle: Any, error: Exception) -> bool:
    """Whether the answer is complete; then `error` has been said, and nothing else is left to do."""
    if not cycle.response_complete or _is_broken(cycle):
        return False
    cycle.logger.error("Exception in the application, after its answer\n", exc_info=error)
    return True


def _is_broken(cycle: Any) -> bool:
    """Whether uvicorn called an answer complete for which h11 then had too little."""
    if not hasattr(cycle, "conn"):
        return False
    import h11

    return cycle.conn.our_state is h11.ERROR


def lenient(app: Asgi) -> Asgi:
    """`app`, whose errors after its answer are said, and that is all."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:
            if not is_late(send.__self__, error):
                raise

    return call
