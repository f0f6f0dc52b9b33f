"""Which socket units an app has, and which addresses each of them opens. Pure."""

import hashlib
import re
from dataclasses import dataclass

from svc.app import App, Family, Listen
from svc.units import escape
from svc.units.running import Running, file_of


@dataclass(frozen=True, slots=True)
class Sockets:
    """`files` has the addresses of each socket unit's file, as ListenStream= has them; `units` are the
    socket units themselves, instances of a template where there are several listeners for an address.

    `added` are those that the app opens while it runs.
    """

    files: dict[str, tuple[str, ...]]
    units: list[str]
    added: tuple[str, ...] = ()


def address(listen: Listen) -> str:
    """Return an address for ListenStream=."""
    return escape.path(listen.path or str(listen))


def sockets(app: App, listeners: int, running: Running) -> Sockets:
    """Return the socket units of an app that has so many `listeners` for each TCP address.

    While the app runs its listeners stay where they are, and so does how many there are for an address; what
    is new is opened in addition, and what is no longer wanted stays until a rollout gives it up.
    """
    if not running.units:
        return _at_rest(app, listeners)
    files = dict(running.files)
    units = [unit for unit in running.sockets if file_of(unit, files) in files]
    held = {one for addresses in files.values() for one in addresses}
    for listen in app.listen:
        if (text := address(listen)) not in held:
            files[added_unit(app.name, listen)] = (text,)
            units.append(added_unit(app.name, listen))
    return Sockets(files, units, tuple(unit for unit in units if is_added(unit)))


def unwanted(app: App, running: Running) -> set[str]:
    """Return the addresses that the app holds and wants no longer."""
    return {one for held in running.files.values() for one in held} - {address(one) for one in app.listen}


def added_unit(name: str, listen: Listen) -> str:
    """Return the socket unit that opens an address in addition: app@127.0.0.1-8001.socket."""
    if listen.family is Family.UNIX:
        return f"{name}@unix-{hashlib.sha256(listen.path.encode()).hexdigest()[:12]}.socket"
    return f"{name}@{re.sub(r'[^A-Za-z0-9.]', '-', str(listen))}.socket"


def is_added(unit: str) -> bool:
    """Say whether a socket unit is one of those. (The others' instances are numbers.)"""
    instance = unit.partition("@")[2].removesuffix(".socket")
    return bool(instance) and not instance.isdecimal()


def stand_in(name: str) -> str:
    """Return the template of the services of such sockets. No app's name begins like this."""
    return f"_{name}@.service"


def _at_rest(app: App, listeners: int) -> Sockets:
    # Unix sockets have no SO_REUSEPORT: whatever the number of listeners, a path has one.
    shared = tuple(one for one in app.listen if listeners == 1 or one.family is Family.UNIX)
    grouped = tuple(one for one in app.listen if one not in shared)
    files, units = {}, []
    if shared:
        files[f"{app.name}.socket"] = tuple(map(address, shared))
        units.append(f"{app.name}.socket")
    if grouped:
        files[f"{app.name}@.socket"] = tuple(map(address, grouped))
        units += [f"{app.name}@{number}.socket" for number in range(listeners)]
    return Sockets(files, units)
