"""What a worker knows of the other hosts: from the environment that its unit gives it."""

import os
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from svc.cluster.errors import ClusterError

if TYPE_CHECKING:
    from svc.cluster.bus.plain import PlainPost
    from svc.cluster.hosts.everywhere import Everywhere
    from svc.cluster.hosts.lease import Lease
    from svc.cluster.hosts.office import Office
    from svc.cluster.hosts.server import Server

URL, FALLBACK = "SVC_CLUSTER_URL", "SVC_CLUSTER_FALLBACK"
PASSWORD = "cluster-password"
"""The credential ([credentials]) that holds the server's password."""

_MISSING = (
    "[cluster] url needs the package redis (redis-py) in the application's interpreter: "
    "`pip install 'redis>=4.3'`, or `apt install python3-redis`"
)


@dataclass(frozen=True, slots=True)
class Hosts:
    """The server, and this host's identity among those that share it. `folder` is the app's on this host.

    `threads` wait for the server's answers. They are not the event loop's own: there an application's threads
    may wait for a lock, and its holder could not give it back.
    """

    server: "Server"
    host: str
    folder: Path
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "svc-hosts"))

    def lease(self, kind: str, name: str = "", lost: Callable[[], None] | None = None) -> "Lease":
        """Return a lease that one host at a time can have."""
        from svc.cluster.hosts.lease import Lease

        return Lease(
            self.server, self.server.key(kind, name.encode("utf-8", "surrogatepass")), self.host, lost
        )

    def office(self) -> "Office":
        """Return the leadership of all hosts."""
        from svc.cluster.hosts.office import Office

        return Office(self)

    def everywhere(self, post: "Callable[[bytes], PlainPost]") -> "Everywhere":
        """Return what broadcasts to all hosts. `post` makes what sends with a header within this one."""
        from svc.cluster.hosts.everywhere import Everywhere

        return Everywhere(self, post)


_connecting = threading.Lock()
_hosts: Hosts | None = None


def _in_child() -> None:
    """A child that was forked connects anew: threads and leases are its parent's."""
    global _hosts, _connecting
    _hosts, _connecting = None, threading.Lock()


os.register_at_fork(after_in_child=_in_child)


def connected(folder: Path, environ: Mapping[str, str] = os.environ) -> Hosts | None:
    """Return the other hosts as this process sees them; None where no url is configured.

    Raises ClusterError without redis-py, or when the password cannot be read.
    """
    global _hosts  # noqa: PLW0603 - a process has one connection, as it is one worker
    url = environ.get(URL)
    if not url:
        return None
    with _connecting:
        if _hosts is None or _hosts.folder != folder:
            try:
                from svc.cluster.hosts.server import Server
            except ModuleNotFoundError as error:
                if error.name != "redis":
                    raise
                raise ClusterError(_MISSING) from None
            try:
                server = Server(url, f"svc:{environ['SVC_APP']}:", _password(environ))
                _hosts = Hosts(server, _identity(folder), folder)
            except (OSError, ValueError) as error:
                raise ClusterError(f"[cluster] url cannot be used: {error}") from error
        return _hosts


def _password(environ: Mapping[str, str]) -> str | None:
    """The content of the credential, without the line's end; None without one."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    try:
        return Path(folder, PASSWORD).read_text().rstrip("\r\n")
    except FileNotFoundError:
        return None


def _identity(folder: Path) -> str:
    """Return what no other host has. Of all workers that start at once the first decides.

    Not /etc/machine-id: images of virtual machines are copied with it.
    """
    path = folder / "host"
    try:
        return path.read_text()
    except FileNotFoundError:
        own = path.with_name(f"host.{os.getpid()}")
        own.write_text(secrets.token_hex(8))
        try:
            path.hardlink_to(own)
        except FileExistsError:
            pass
        finally:
            own.unlink()
        return path.read_text()
