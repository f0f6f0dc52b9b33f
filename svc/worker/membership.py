"""The worker as a member of its app's cluster, for as long as it lives."""

import asyncio
import socket
from contextlib import AbstractContextManager, nullcontext

from svc.cluster import member
from svc.cluster.member import Member
from svc.worker.runtime import runtime_directory
from svc.worker.wsgi import outside_the_loop


def join(name: str, slot: str, workers: int, bus: socket.socket | None) -> Member | None:
    """Become worker `slot` of the app `name`, whose queue of messages is `bus`. To be called before the
    application is loaded, because that asks who it is.

    None where systemd made no runtime directory: then `svc.cluster` works in this process alone.
    """
    directory = runtime_directory(name)
    if directory is None:
        return None
    return member.join(slot, workers, directory, bus, _outside)


def _outside() -> AbstractContextManager[None]:
    # A WSGI application that waits for an answer, and takes messages meanwhile, is outside already.
    return nullcontext() if asyncio._get_running_loop() is None else outside_the_loop()
