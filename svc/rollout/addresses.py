"""A changed `listen`: the new address is open before the old one closes.

Before any worker is touched, what is new is opened by socket units of their own, and whoever starts from
then on holds the old and the new. When the surge workers are ready, what is old is given up: it is no longer
handed to workers that start, and closes with the last old worker.
"""

from svc.app import App
from svc.listening import is_open
from svc.rollout.folder import Folder
from svc.rollout.steps import RolloutFailed
from svc.rollout.systemd import Manager
from svc.units.host import Host
from svc.units.render import render
from svc.units.running import Running, file_of
from svc.units.sockets import unwanted


def open_new(app: App, running: Running, manager: Manager, folder: Folder) -> list[str]:
    """Open what is new, and return its units; `running` are the units that systemd has read now.

    Raises RolloutFailed, OSError.
    """
    cure = f"run `systemctl restart {app.name}.target '{app.name}*.socket'`"
    states = manager.states(running.sockets)
    closed = [unit for unit, state in states.items() if state.active != "active"]
    if (first := f"{app.name}.socket") in closed:
        raise RolloutFailed(f"nothing has changed: {first} does not run: {cure}")
    if closed:
        if failed := manager.start(closed):
            manager.stop(closed)
            raise RolloutFailed("nothing has changed: a new listener cannot be opened", failed)
        folder.keep(running.units)
    if missing := [str(listen) for listen in app.listen if not is_open(listen)]:
        raise RolloutFailed(f"nothing has changed: {', '.join(missing)} is not open: {cure}")
    return closed


def give_up(app: App, host: Host, running: Running, manager: Manager, folder: Folder) -> Running:
    """Give up what the app wants no longer, and return what it then runs with. Raises OSError."""
    addresses = unwanted(app, running)
    if not addresses:
        return running
    left = running.without(addresses)
    units = render(app, host, left)
    # While its file is there: of a unit without one systemd would forget the listener, and that it runs.
    manager.stop([unit for unit in running.sockets if file_of(unit, left.files) not in left.files])
    folder.keep(units)
    manager.daemon_reload()
    return Running(app.name, units)
