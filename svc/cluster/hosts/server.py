"""The connection to the server: it never waits for long, and comes back by itself.

A call that finds no server fails after TIMEOUT; from then on calls fail at once, while a thread
asks the server until it answers again. So an event loop is held up once for each outage, not for each call.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from svc.cluster.errors import ServerAway, ServerRefused
from svc.cluster.hosts.away import why
from svc.cluster.hosts.keeper import Keeper

T = TypeVar("T")

TIMEOUT = 1.0
"""Seconds that a connection, and an answer, may take."""

_log = logging.getLogger("svc.cluster")


class Server:
    """The server at `url`, for any thread. Its keys begin with `prefix`. Nothing is connected before it is
    used.
    """

    def __init__(self, url: str, prefix: str, password: str | None = None) -> None:
        self.url = url
        self.prefix = prefix.encode()
        self._password = password
        self._scripts: dict[str, Any] = {}
        self._away = ""
        self.returns = 0
        self.client = self.connect(TIMEOUT)
        self.keeper = Keeper(self)

    def connect(self, timeout: float) -> Any:
        """Return a client whose answers may take `timeout` seconds."""
        # Older versions (4.3) do not know this for a unix socket, where socket_timeout is in force at once.
        options: dict[str, Any] = {} if self.url.startswith("unix:") else {"socket_connect_timeout": TIMEOUT}
        if self.url.startswith("rediss:"):
            # Older versions (4.3) take the certificate of any host unless they are told to look.
            options["ssl_check_hostname"] = True
        return redis.Redis.from_url(
            self.url,
            password=self._password,
            **options,
            socket_timeout=timeout,
            # What was sent may have been done: to send it again could count twice.
            retry=Retry(NoBackoff(), 0),
        )

    def key(self, kind: str, name: bytes = b"") -> bytes:
        """Return the key of something of this app: `svc:APP:KIND` or `svc:APP:KIND:NAME`."""
        return self.prefix + kind.encode() + (b":" + name if name else b"")

    @property
    def away(self) -> bool:
        """Whether calls fail at once, because the server did not answer."""
        return bool(self._away)

    def ask(self, work: Callable[[Any], T]) -> T:
        """Return what `work(client)` returns. Raises ServerAway and ServerRefused."""
        if self._away:
            raise ServerAway(self._away)
        try:
            return work(self.client)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self.lost(error) from error
        except redis.RedisError as error:
            if isinstance(error, redis.ReadOnlyError) or "READONLY" in str(error):  # so a script
                # It is no longer the primary. What the url names may be another server by now.
                self.client.connection_pool.disconnect(inuse_connections=False)
            raise ServerRefused(f"the server at {self.url} says: {error}") from error

    def run(self, script: str, keys: Sequence[bytes], *arguments: bytes | str | int) -> Any:
        """Run a script in Lua on the server, where nothing comes between. Raises as `ask` does."""

        def work(client: Any) -> Any:
            known = self._scripts.get(script)
            if known is None:
                known = self._scripts[script] = client.register_script(script)
            return known(keys=keys, args=arguments)

        return self.ask(work)

    def lost(self, error: Exception) -> ServerAway:
        """Note that the server is away, and return what to raise."""
        told = why(error, self.url)
        if not self._away:
            _log.warning("The server at %s %s", self.url, told)
        self._note(told)
        self.keeper.wake()
        return ServerAway(self._away)

    def probe(self) -> None:
        """Find out whether it is back. For the keeper."""
        try:
            self.client.ping()
        except redis.RedisError as error:
            self._note(why(error, self.url))
        else:
            self.returns += 1
            self._away = ""
            _log.warning("The server at %s is back.", self.url)

    def _note(self, told: str) -> None:
        self._away = f"the server at {self.url} ([cluster] url) {told}"

    def close(self) -> None:
        """Let go of all connections, and of all leases."""
        self.keeper.close()
        self.client.connection_pool.disconnect()
