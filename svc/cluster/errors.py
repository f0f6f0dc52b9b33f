"""What can go wrong between workers."""

from collections.abc import Iterable


class ClusterError(Exception):
    """The base of all errors of the cluster API."""


class NoSuchSlot(ClusterError, LookupError):
    """The app has no such worker, or its worker was stopped by hand: nobody would ever read the message."""


class QueueFull(ClusterError, TimeoutError):
    """The queues of `slots` stayed full for the whole timeout. All others have the message."""

    def __init__(self, slots: Iterable[int | str]) -> None:
        self.slots = tuple(slots)
        super().__init__(f"the queue of worker {', '.join(map(str, self.slots))} is full")


class RequestFailed(ClusterError):
    """The other worker could not answer: its handler raised, it has none, or it ended before it had
    answered.
    """


class CacheError(ClusterError):
    """The cache cannot do what it is asked for; the text says why and what helps."""


class ServerAway(CacheError, ConnectionError):
    """The server of [cluster] url does not answer. A later call may succeed: svc connects again by itself."""


class ServerRefused(CacheError):
    """The server of [cluster] url answered with an error, which the text has."""


class LockLost(ClusterError):
    """The lock could not be renewed, so another host may have it: what was done under it may be doubled."""
