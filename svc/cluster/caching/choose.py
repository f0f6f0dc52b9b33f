"""Which store the cache of this process is in."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from svc.cluster.caching.store import Store
from svc.cluster.errors import CacheError
from svc.worker.runtime import runtime_directory

DEFAULT_SIZE = 64 << 20

_lock = threading.Lock()
_store: Store | None = None


def store() -> Store:
    """Return the one store of this process, which the first call opens. Raises CacheError."""
    global _store  # noqa: PLW0603 - both forms of the calls share it
    with _lock:
        if _store is None:
            _store = chosen(os.environ)
        return _store


def chosen(environ: Mapping[str, str]) -> Store:
    """Open the store of the app's workers: on this host, or with a url on all hosts; outside svc, memory.

    Raises CacheError and ClusterError.
    """
    name = environ.get("SVC_APP")
    if not name:
        from svc.cluster.caching.memory import Memory

        return Memory(DEFAULT_SIZE)
    folder = runtime_directory(name, environ)
    if folder is None:
        raise CacheError(
            f"there is no folder svc/{name} in RUNTIME_DIRECTORY, where the workers would share their cache: "
            "remove RuntimeDirectory from [service], or add to it instead of resetting it"
        )
    if environ.get("SVC_CLUSTER_URL"):
        return _of_all_hosts(folder, environ)
    return _of_this_host(folder, environ)


def _of_this_host(folder: Path, environ: Mapping[str, str]) -> Store:
    from svc.cluster.caching.embedded import Embedded

    return Embedded(folder / "cache", int(environ.get("SVC_CACHE_SIZE", DEFAULT_SIZE)))


def _of_all_hosts(folder: Path, environ: Mapping[str, str]) -> Store:
    from svc.cluster.hosts import configured

    hosts = configured.connected(folder, environ)
    assert hosts is not None
    from svc.cluster.hosts.store import HostsStore

    shared = HostsStore(hosts.server, hosts.host, folder)
    if not environ.get(configured.FALLBACK):
        return shared
    from svc.cluster.hosts.fallback import Fallback

    return Fallback(shared, _of_this_host(folder, environ))
