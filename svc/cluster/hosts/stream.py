"""Broadcasts from host to host, by a stream on the server (XADD, XREAD).

Each worker adds its own broadcasts. On each host one worker at a time, which holds a lock that the kernel
frees, reads those of other hosts and puts them into the queues of its host. How far it is stands in a file:
its successor, after a reload or a crash, goes on from there, and so does everyone after the server was away.
It notes a message before it passes it on: each comes at most once.
"""

import contextlib
import logging
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis

from svc.cluster import ofd
from svc.cluster.bus import values, wire
from svc.cluster.bus.plain import PlainPost
from svc.cluster.errors import ClusterError, QueueFull
from svc.cluster.hosts.server import TIMEOUT, Server
from svc.cluster.slots import Slot

KEPT_SECONDS = 60.0
"""For so long a host may be cut off, or without workers, and still gets what was sent meanwhile."""

KEPT = 10_000
"""About as many messages the stream has at most: a host that is cut off misses the oldest of more."""

PATIENCE = 5.0
"""Seconds that a full queue is waited for; then its worker misses the message, and the log says so."""

_LOOK = 0.5
_AT_A_TIME = 256
_BLOCK_MS = 500
_CLOSE_SECONDS = 2.0
_PLACE = 64  # bytes of the file: an ID of a stream, and blanks
_LOCK = 1 << 20
_FIRST = b"0-0"

# By the server's clock, which also makes the IDs. An approximate trim (~) costs nothing most of the time.
_ADD = """
local clock = redis.call('TIME')
local oldest = tonumber(clock[1]) * 1000 - tonumber(ARGV[5])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'h', ARGV[1], 'k', ARGV[2], 'v', ARGV[3])
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', oldest))
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[5]))
"""

_log = logging.getLogger("svc.cluster")


class Publisher:
    """What this process sends to other hosts, in the order in which it was told to."""

    def __init__(self, server: Server, host: str) -> None:
        self._server = server
        self._key = server.key("bus")
        self._host = host
        # One thread: two could overtake each other.
        self._thread = ThreadPoolExecutor(1, "svc-publisher")

    def publish(self, data: Any) -> "Future[None]":
        """Begin to send it. The future raises ServerAway and ServerRefused; this, what cannot be encoded."""
        kind, value = values.encode(data)
        return self._thread.submit(self._send, kind, value)

    def close(self) -> None:
        """End. What is left is sent before the process ends."""
        self._thread.shutdown(wait=False)

    def _send(self, kind: int, value: bytes) -> None:
        self._server.run(_ADD, [self._key], self._host, kind, value, KEPT, int(KEPT_SECONDS * 1000))


class Relay:
    """Passes the broadcasts of other hosts on to the workers of this one, while no other worker does."""

    def __init__(self, server: Server, host: str, folder: Path, post: Callable[[bytes], PlainPost]) -> None:
        """`post` makes what sends with a header to all workers of this host."""
        self._server = server
        self._key = server.key("bus")
        self._host = host.encode()
        self._path = folder / "relay"
        self._post = post(wire.header(wire.OUTSIDER, random.SystemRandom().getrandbits(64)))
        self._full: tuple[Slot, ...] = ()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="svc-relay", daemon=True)

    def start(self) -> None:
        """Begin, in a thread."""
        if self._thread.ident is None and not self._over.is_set():
            self._thread.start()

    def end(self) -> None:
        """Leave it to another worker after the message that is under way."""
        self._over.set()

    def close(self) -> None:
        """End, and wait for that, but not for a full queue: the lock is free when this process ends."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        fd = ofd.open_file(self._path)
        try:
            while not ofd.try_lock(fd, _LOCK):
                if self._over.wait(_LOOK):
                    return
            # It waits for messages in the server: longer than other answers may take.
            client = self._server.connect(TIMEOUT + _BLOCK_MS / 1000)
            while not self._over.is_set():
                try:
                    self._server.ask(lambda _: self._begin(client, fd))
                    while not self._over.is_set():
                        self._server.ask(lambda _: self._pass_on(client, fd))
                except ClusterError:
                    self._over.wait(_LOOK)
                except Exception:
                    _log.exception("Broadcasts of other hosts cannot be passed on:")
                    self._over.wait(_LOOK)
            with contextlib.suppress(redis.RedisError):
                client.connection_pool.disconnect()
        finally:
            self._post.close()
            # To close it is not enough, if a child was forked in the meantime.
            ofd.unlock(fd, _LOCK)
            os.close(fd)

    def _begin(self, client: Any, fd: int) -> None:
        """Find out where to go on: a host that is new here begins with what comes from now on.

        So does one whose place is beyond the stream's end: this is another server, with a clock behind. What
        is too old is left out, or an app that was stopped would get all that was sent since.
        """
        newest = client.xrevrange(self._key, count=1)
        end = newest[0][0] if newest else _FIRST
        seconds, _ = client.time()
        oldest = b"%d-0" % ((seconds - KEPT_SECONDS) * 1000)
        place = _place(fd)
        if place is None or _order(place) > _order(end):
            _note(fd, end)
        elif _order(place) < _order(oldest):
            _note(fd, oldest)

    def _pass_on(self, client: Any, fd: int) -> None:
        """Wait for messages, and pass them on."""
        found = client.xread({self._key: _place(fd) or _FIRST}, count=_AT_A_TIME, block=_BLOCK_MS)
        if not found:
            return
        # A list of pairs by the second version of the protocol, a mapping by the third.
        entries = next(iter(found.values()))[0] if isinstance(found, dict) else found[0][1]
        for number, entry in entries:
            _note(fd, number)
            if entry[b"h"] == self._host:
                continue
            try:
                self._post.broadcast_encoded(int(entry[b"k"]), entry[b"v"], True, PATIENCE, self._full)
                self._full = ()
            except (QueueFull, OSError, ValueError) as error:
                _log.error("A broadcast of another host was not passed on: %s", error)
                # Who was waited for in vain is not waited for again: that would hold up its siblings.
                self._full = error.slots if isinstance(error, QueueFull) else ()
            if self._over.is_set():
                return  # a successor goes on


def _place(fd: int) -> bytes | None:
    return os.pread(fd, _PLACE, 0).strip() or None


def _note(fd: int, number: bytes) -> None:
    os.pwrite(fd, number.ljust(_PLACE), 0)


def _order(number: bytes) -> tuple[int, ...]:
    return tuple(map(int, number.split(b"-")))
