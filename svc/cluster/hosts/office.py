"""`cluster.every` across hosts: the leader of one host has the lease, and the server notes when jobs begin.

The note and the look at the lease are one step on the server, by its clock. So a host whose lease has run
out begins nothing, however late it finds out, and no period has two beginnings.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from svc.cluster.errors import ClusterError
from svc.cluster.hosts.entering import in_thread
from svc.cluster.hosts.lease import Lease
from svc.cluster.schedule import Job

if TYPE_CHECKING:
    from svc.cluster.hosts.configured import Hosts

_log = logging.getLogger("svc.cluster")

_KEPT_SECONDS = 86400
"""How long the server remembers the beginning of a job after its next one was due."""

# The same as svc.cluster.schedule.next_due, in microseconds.
_BEGIN = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local period = tonumber(ARGV[2])
local last = tonumber(redis.call('GET', KEYS[2]) or '')
local due = now
if last and last <= now + period then
  due = last + period
  if due < now - period then due = due + math.floor((now - due) / period) * period end
end
if due > now then return math.ceil(due - now) end
redis.call('SET', KEYS[2], string.format('%.0f', due), 'PX', ARGV[3])
return 0
"""


class Office:
    """The lease of the leader of all hosts."""

    def __init__(self, hosts: "Hosts") -> None:
        self._hosts = hosts
        self._lease: Lease | None = None
        self._complained = False

    async def take(self, lost: Callable[[], None]) -> bool:
        """Take it unless another host's leader has it. `lost` is called in this loop when it is lost.

        Without an answer of the server nobody takes it.
        """
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: lost() if self._lease is lease else None)

        lease = self._hosts.lease("leader", lost=tell)
        self._lease = lease
        try:
            taken = await in_thread(self._hosts, lease.acquire)
        except ClusterError as error:
            if not self._complained:
                self._complained = True
                _log.error("No job can be done (cluster.every): %s", error)
            return False
        self._complained = False
        return taken

    async def give_up(self) -> None:
        """Let another host's leader take it."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await in_thread(self._hosts, lease.release)

    async def begin(self, job: Job) -> float:
        """Return the seconds until the job is due; 0.0 when it is, and its beginning has been noted.

        Raises ClusterError.
        """
        lease, server = self._lease, self._hosts.server
        assert lease is not None
        keys = [lease.key, server.key("every", job.name.encode("utf-8", "surrogatepass"))]
        micros = max(1, round(job.seconds * 1e6))
        kept = int((job.seconds + _KEPT_SECONDS) * 1000)
        asking = in_thread(self._hosts, lambda: server.run(_BEGIN, keys, lease.value, micros, kept))
        wait = int(await asking)
        if wait < 0 or not lease.held:
            raise ClusterError("another host does the jobs now")
        return wait / 1e6
