"""Requests that a client sends before the ones before them are answered, in uvicorn's protocols."""

import asyncio
import inspect
from typing import Any

Tasks = set["asyncio.Task[None]"]


def running(protocol: Any, tasks: Tasks) -> Any:
    """The request that is being answered: with a pipeline, `protocol.cycle` is the last one in it."""
    held = getattr(protocol, "held", None)
    if held is not None:
        return held  # about to be answered, see `svc.worker.inline`
    for task in tasks:
        cycle = inspect.getcoroutinelocals(task.get_coro()).get("self")  # type: ignore[arg-type]
        if getattr(cycle, "transport", None) is protocol.transport:
            return cycle
    return None


def telling(protocol_class: Any, tasks: Tasks) -> Any:
    """`protocol_class`, whose requests hear of it when their client leaves, those with a pipeline as well.

    Uvicorn with httptools tells only the last request that it has received, so the one that is being
    answered would go on for nobody: for ever, if it is a stream.
    """
    if not hasattr(protocol_class, "on_message_begin"):
        return protocol_class  # h11 takes up one request after the other

    def connection_lost(protocol: Any, exc: Exception | None) -> None:
        if protocol.pipeline:
            cycle = running(protocol, tasks)
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        protocol_class.connection_lost(protocol, exc)

    return type(protocol_class.__name__, (protocol_class,), {"connection_lost": connection_lost})
