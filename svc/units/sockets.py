"""Which socket units an app has, and which addresses each of them opens. Pure."""

import re
from dataclasses import dataclass

from svc.app import App, Family, Listen
from svc.units import escape
from svc.units.running import Running, file_of


@dataclass(frozen=True, slots=True)
class Sockets:
    """`files` has the addresses of each socket unit's file, as ListenStream= has them; `units` are the
    socket units themselves, instances of a template where there are several listeners for an address.
    """

    files: dict[str, tuple[str, ...]]
    units: list[str]

    @property
    def further(self) -> bool:
        """Whether there are others than app.socket."""
        return len(self.units) > 1 or any("@" in unit for unit in self.units)


def address(listen: Listen) -> str:
    """Return an address for ListenStream=."""
    return escape.path(listen.path or str(listen))


def tcp(app: App) -> tuple[Listen, ...]:
    """Return the addresses that can have several listeners: unix sockets have no SO_REUSEPORT."""
    return tuple(one for one in app.listen if one.family is not Family.UNIX)


def sockets(app: App, listeners: int, running: Running) -> Sockets:
    """Return the socket units of an app that has so many `listeners` for each TCP address.

    The first is app.socket, then come app@1.socket, app@2.socket, … While the app runs its listeners stay
    where they are: what is new is opened in addition, and what is no longer wanted stays until a rollout
    gives it up. Nor do they become fewer: to close one would reset what is in its queue, and one that no
    worker takes along is a hole into which clients fall.
    """
    if not running.units:
        files = {f"{app.name}.socket": tuple(map(address, app.listen))}
        return _grown(app, listeners, Sockets(files, [f"{app.name}.socket"]))
    files = dict(running.files)
    units = [unit for unit in running.sockets if file_of(unit, files) in files]
    grown = _grown(app, listeners, Sockets(files, units))
    held = {one for addresses in files.values() for one in addresses}
    added = {added_unit(app.name, one): (text,) for one in app.listen if (text := address(one)) not in held}
    return Sockets(grown.files | added, [*grown.units, *added])


def _grown(app: App, listeners: int, now: Sockets) -> Sockets:
    """Add what is missing for so many listeners of the addresses that app.socket holds."""
    first, template = f"{app.name}.socket", f"{app.name}@.socket"
    shared = tuple(one for one in map(address, tcp(app)) if one in now.files.get(first, ()))
    numbered = [f"{app.name}@{number}.socket" for number in range(1, listeners)]
    missing = [unit for unit in numbered if unit not in now.units]
    if not missing or not shared:
        return now
    return Sockets({template: shared} | now.files, [*now.units, *missing])


def unwanted(app: App, running: Running) -> set[str]:
    """Return the addresses that the app holds and wants no longer."""
    return {one for held in running.files.values() for one in held} - {address(one) for one in app.listen}


def added_unit(name: str, listen: Listen) -> str:
    """Return the socket unit that opens an address in addition: app@127.0.0.1-8001.socket."""
    if listen.family is Family.UNIX:
        import hashlib  # OpenSSL is dear at boot, and few apps need it

        return f"{name}@unix-{hashlib.sha256(listen.path.encode()).hexdigest()[:12]}.socket"
    return f"{name}@{re.sub(r'[^A-Za-z0-9.]', '-', str(listen))}.socket"
