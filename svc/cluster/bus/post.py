"""Sending, for coroutines."""

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from svc.cluster import scoreboard
from svc.cluster.bus import exchange, values, wire
from svc.cluster.bus.outbox import Outbox, settled
from svc.cluster.bus.packing import pack
from svc.cluster.bus.receivers import Receivers
from svc.cluster.errors import NoSuchSlot, QueueFull
from svc.cluster.scoreboard import Record
from svc.cluster.slots import Slot

Prepare = Callable[[asyncio.AbstractEventLoop], None]


class Post:
    """What `svc.cluster` does with messages. `header` is that of all its datagrams.

    `prepare` is called with the running event loop where that is another than before.
    """

    def __init__(
        self, folder: Path, header: bytes, receivers: Receivers, record: Record, prepare: Prepare
    ) -> None:
        self.outbox = Outbox(folder, header)
        self._receivers = receivers
        self._record = record
        self._prepare = prepare
        self._numbers = itertools.count(1)

    async def broadcast(self, data: Any, include_self: bool, timeout: float) -> None:
        """See `svc.cluster.broadcast`."""
        self._enter()
        message, fds = self._pack(wire.MESSAGE, data)
        full: dict[asyncio.Future[None], Slot] = {}
        outbox, slots = self.outbox, self._receivers.all(include_self=include_self)
        left = slots if fds else outbox.offer_all(slots, message)
        count = len(slots) - len(left)
        try:
            for slot in left:
                try:
                    sent = outbox.offer(outbox.way(slot), message, fds)
                except NoSuchSlot:
                    continue  # stopped by hand, or not started yet
                count += 1
                if sent is None:
                    continue
                if self._receivers.gone(slot):
                    sent.cancel()
                else:
                    full[sent] = slot
            if full:
                slots = await settled(full, timeout)
                for sent in full:
                    if not sent.cancelled():
                        sent.exception()  # stopped while we waited
                if slots:
                    raise QueueFull(slots)
        finally:
            for fd in fds:
                os.close(fd)
        self._record.words[scoreboard.SENT] += count

    async def send(self, slot: Slot, data: Any, timeout: float) -> None:
        """See `svc.cluster.send`."""
        self._enter()
        self._receivers.check(slot)
        message, fds = self._pack(wire.MESSAGE, data)
        try:
            await self._send(slot, message, fds, timeout)
        finally:
            for fd in fds:
                os.close(fd)

    async def request(self, slot: Slot, data: Any, timeout: float) -> Any:
        """See `svc.cluster.request`."""
        loop = self._enter()
        self._receivers.check(slot)
        deadline = loop.time() + timeout
        message, fds = self._pack(wire.REQUEST, data)
        ours, theirs = exchange.pair()
        with ours:
            try:
                with theirs:
                    await self._send(slot, message, [*fds, theirs.fileno()], timeout)
            finally:
                for fd in fds:
                    os.close(fd)
            return await exchange.answer(loop, ours, deadline - loop.time(), slot)

    def _enter(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop, which carries the outbox from now on."""
        loop = asyncio.get_running_loop()
        if loop is not self.outbox.loop:
            self._prepare(loop)
        return loop

    async def _send(self, slot: Slot, message: bytes, fds: list[int], timeout: float) -> None:
        sent = self.outbox.offer(self.outbox.way(slot), message, fds)
        if sent is not None:
            if await settled({sent: slot}, timeout):
                raise QueueFull([slot])
            sent.result()
        self._record.words[scoreboard.SENT] += 1

    def _pack(self, what: int, data: Any) -> tuple[bytes, list[int]]:
        kind, value = values.encode(data)
        return pack(kind, what, next(self._numbers), value)
