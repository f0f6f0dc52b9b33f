"""The application of the part "cluster_cache" whose memory is measured: it has messages, a job and the cache.

With `SILENT` it is the same application without them.
"""

import os
from typing import Any

if "SILENT" not in os.environ:
    from svc import cluster

    received: list[Any] = []

    @cluster.on_message
    def take(message: cluster.Message) -> None:
        """Note a message."""
        received.append(message.data)

    @cluster.every(0.1)
    async def tell() -> None:
        """Tell all of something that is cached."""
        await cluster.broadcast(cluster.cache.incr("count"))


async def asgi(scope: Any, _receive: Any, send: Any) -> None:
    """Answer in ASGI."""
    if scope["type"] != "http":
        return
    body = b"nothing"
    if "SILENT" not in os.environ:
        body = f"{await cluster.cache.get_or_compute('key', lambda: 'x' * 100)} {received}".encode()
        del received[:]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
