"""The canary: a request that a worker answers to itself before it joins the line.

It goes through the worker's own protocol over a socket pair: exactly this process answers, no other can,
and nothing new is open to anybody.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from svc.worker.log import WorkerError

LONGEST_HEAD = 65536  # bytes


@dataclass(frozen=True, slots=True)
class Canary:
    """What to ask, and within how many seconds. `url` is a path, or a whole URL that says which host."""

    url: str
    seconds: float

    def request(self) -> bytes:
        """Return the request. The scheme of a whole URL is told as a proxy would tell it."""
        parts = urlsplit(self.url)
        target = parts.path or "/"
        if parts.query:
            target = f"{target}?{parts.query}"
        lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc or 'localhost'}", "User-Agent: svc-canary"]
        if parts.scheme:
            lines.append(f"X-Forwarded-Proto: {parts.scheme}")
        return "\r\n".join([*lines, "Accept: */*", "Connection: close", "", ""]).encode()

    async def sing(self, adopt: Callable[[socket.socket, str], None]) -> None:
        """Ask the worker that `adopt` gives a connection to, with the scheme in which it is asked.

        Raises WorkerError unless it answers 2xx.
        """
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        # Which proxies an application trusts depends on their addresses, and here is none.
        adopt(theirs, urlsplit(self.url).scheme or "http")
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LONGEST_HEAD)
        try:
            async with asyncio.timeout(self.seconds):
                writer.write(self.request())
                await self._judge(reader)
        except TimeoutError:
            raise WorkerError(f"the canary {self.url} was not answered within {self.seconds:g} s") from None
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            why = f"({type(error).__name__})"
            raise WorkerError(f"the canary {self.url} got no answer, only the end {why}") from None
        finally:
            writer.close()

    async def _judge(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2]  # 500 Internal Server Error
        if not status.startswith("2"):
            raise WorkerError(f"the canary {self.url} was answered with {status}")
        while await reader.read(LONGEST_HEAD):  # an answer that breaks off in its middle is none
            pass
