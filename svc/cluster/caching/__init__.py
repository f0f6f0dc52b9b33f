"""`cluster.cache`: what all workers of an app share and may lose.

    from svc import cluster

    cluster.cache.set("users", 25, ttl=10)
    cluster.cache.get("users")
    value = await cluster.cache.get_or_compute("users", count_users, ttl=10)

Embedded: one folder in mapped memory for the workers of a host ([cluster] cache = "64M"). Outside svc it
is this process's own memory.
"""

from svc.cluster.caching.calls import BlockingCache, Cache
from svc.cluster.caching.choose import store

__all__ = ["BlockingCache", "Cache", "blocking_cache", "cache"]

cache = Cache(store)
"""The cache of this app, for coroutines."""

blocking_cache = BlockingCache(store)
"""The same cache, for plain functions."""
