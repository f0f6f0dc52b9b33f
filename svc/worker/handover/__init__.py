"""Handing connections over to a sibling: a client keeps its connection though its worker stops.

The workers of an app meet in a folder (`Meeting`), where each has a socket named by its slot (`Door`).
Who has connections to give connects there (`Siblings`). A connection is in one pair of hands at any
time, and it is the kernel that moves it, with SCM_RIGHTS (unix(7)):

    giver    makes a queue, a pair of sockets, and keeps both ends
    giver    connects to the sibling's socket and passes the end that is read   (same user only, SO_PEERCRED)
    sibling  reports how many connections it has                                (so its event loop turns)
    giver    puts a connection into the queue, and closes its own descriptor
    sibling  takes it out, and reports

Both hold the end that is read, and what is in the queue is received once, whoever is first. So a giver
that hears nothing takes back what is left, as it does when the sibling has died; and what a giver that
died has left behind, the sibling takes. Nobody ever waits: all sockets are non-blocking.
"""

from svc.worker.handover.door import Door
from svc.worker.handover.meeting import Meeting
from svc.worker.handover.siblings import Siblings

__all__ = ["Door", "Meeting", "Siblings"]
