"""`cluster.broadcast` to all hosts: the bus within this one, the stream to the others."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from svc.cluster.bus.plain import PlainPost
from svc.cluster.hosts.configured import Hosts
from svc.cluster.hosts.stream import Publisher, Relay


class Everywhere:
    """One member's part in it. `post` makes what sends with a header to all workers of this host."""

    def __init__(self, hosts: Hosts, post: Callable[[bytes], PlainPost]) -> None:
        self._publisher = Publisher(hosts.server, hosts.host)
        self._relay = Relay(hosts.server, hosts.host, hosts.folder, post)

    def begin(self) -> None:
        """Take what other hosts send from now on, if no other worker of this host does."""
        self._relay.start()

    def end(self) -> None:
        """Leave that to another worker, as soon as may be."""
        self._relay.end()

    def close(self) -> None:
        """Send what is left, and wait for all to be over, for a short time at most."""
        self._publisher.close()
        self._relay.close()

    async def broadcast(self, data: Any, local: Coroutine[Any, Any, None], timeout: float) -> None:
        """Do `local`, which sends within this host, and send to the others.

        Raises what `local` raises, ServerAway, ServerRefused, and TimeoutError when others are not sent to
        in time. In each case all that can have the message have it.
        """
        try:
            sent = self._publisher.publish(data)
        except BaseException:
            local.close()
            raise
        await local
        await asyncio.wait_for(asyncio.wrap_future(sent), timeout)

    def broadcast_now(self, data: Any, local: Callable[[], None], timeout: float) -> None:
        """Do the same where a thread may wait."""
        sent = self._publisher.publish(data)
        local()
        sent.result(timeout)
