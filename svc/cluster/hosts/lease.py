"""A lock on the server: it runs out unless its holder renews it.

It belongs to a host, not to a process: on each host the kernel's lock of the same name says which process may
ask for it. So the successor of a worker that was killed takes its lease over at once, and only the
end of a whole host is waited for. Its value is `HOST:TOKEN`. Tokens count up for each holder ("fencing"): who
passes its own on to a service lets that refuse what comes late from an earlier holder.
"""

import logging
import threading
import time
from collections.abc import Callable

from svc.cluster.errors import ClusterError
from svc.cluster.hosts.server import Server

SECONDS = 10.0
"""After this time without renewal another host may have it."""

MARGIN = 0.3
"""The part of that by which its holder gives it up earlier: what runs needs a moment to stop."""

_log = logging.getLogger("svc.cluster")

# Tokens are microseconds of the server's clock: a count would begin anew when the server has forgotten it.
_ACQUIRE = """
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
local clock = redis.call('TIME')
local token = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if token <= last then token = last + 1 end
local text = string.format('%.0f', token)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[1], ARGV[1] .. text, 'PX', ARGV[2])
return token
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class Lease:
    """The lease `key`, for the host of the identity `host`. `lost` is called, in any thread, when it was
    held and is no longer.
    """

    def __init__(self, server: Server, key: bytes, host: str, lost: Callable[[], None] | None = None) -> None:
        self.key = key
        self.token = 0
        self._server = server
        self._host = f"{host}:"
        self._lost = lost
        self._lock = threading.Lock()
        self._until = self._renewed = 0.0

    @property
    def held(self) -> bool:
        """Whether it is ours for sure."""
        return bool(self.token) and _now() < self._until

    @property
    def value(self) -> str:
        """What the server has while it is ours."""
        return f"{self._host}{self.token}"

    def acquire(self) -> bool:
        """Take it unless another host has it. Raises ServerAway and ServerRefused."""
        with self._lock:
            asked = _now()
            token = self._server.run(_ACQUIRE, [self.key, self._server.key("token")], self._host, _ms())
            if token:
                self.token = token
                self._note(asked)
        if token:
            self._server.keeper.keep(self)
        return bool(token)

    def renew(self) -> None:
        """Renew it when a quarter of its time has passed; give it up when that was in vain for too long."""
        with self._lock:
            now = _now()
            if not self.token or now < self._renewed + SECONDS / 4:
                return
            gone = now >= self._until
            if not gone:
                try:
                    if self._server.run(_RENEW, [self.key], self.value, _ms()):
                        self._note(now)
                    else:
                        gone = True
                except ClusterError:
                    gone = _now() >= self._until
            if not gone:
                return
            self.token = 0
        self._server.keeper.forget(self)
        _log.error(
            "The lease %s is lost: it could not be renewed in time.", self.key.decode(errors="replace")
        )
        if self._lost is not None:
            self._lost()

    def release(self) -> None:
        """Give it back, if it is ours. Where the server is away it runs out by itself."""
        self._server.keeper.forget(self)
        with self._lock:
            value, token, self.token = self.value, self.token, 0
            if token:
                try:
                    self._server.run(_RELEASE, [self.key], value)
                except ClusterError as error:
                    _log.warning(
                        "The lease %s was not given back: %s", self.key.decode(errors="replace"), error
                    )

    def _note(self, asked: float) -> None:
        self._renewed, self._until = asked, asked + SECONDS * (1 - MARGIN)


def _ms() -> int:
    return int(SECONDS * 1000)


def _now() -> float:
    # It goes on while the host sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
