"""sticky-cookie: a client's connections go to the worker that its cookie names.

Any worker accepts. It reads the first request's head ahead, without taking it (`Router`), and hands a
connection that belongs to a sibling over to it (`svc.worker.handover`), which goes on as if it had accepted
it. The cookie is set by the first answer (`sticky`).

The cookie names a slot, so it outlives the process in it. While no worker is in that slot the client is
served by the one that accepted it, and from then on belongs to that one: what it begins there, it finds
again. A worker that is busy keeps its clients waiting.

What is read ahead is the head of a connection's first request. When a later one on the same connection names
another worker, it is answered here and the connection closed after it, so the client's next request finds its
way. So a proxy that sends requests of several clients through one connection undoes all of this.
"""

from svc.worker.cookie.answers import sticky
from svc.worker.cookie.router import Router

__all__ = ["Router", "sticky"]
