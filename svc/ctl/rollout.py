"""svcctl rollout: what `systemctl reload NAME.target` runs, as ExecReload= of the coordinator."""

import time

from svc.ctl import codes
from svc.rollout import journal, progress
from svc.rollout.brake import Brake
from svc.rollout.events import Event, Message, Outcome
from svc.rollout.folder import Folder
from svc.rollout.plan import alive, is_surge
from svc.rollout.run import BadConfiguration, NotRunning, run
from svc.rollout.steps import RolloutAborted, RolloutFailed
from svc.rollout.systemd import Manager, SystemdError
from svc.rollout.telling import Teller


def rollout(name: str, *, user_scope: bool) -> int:
    """Replace the workers of an app by ones with its newest version. Returns one of `svc.ctl.codes`."""
    began = time.time()
    brake = Brake()
    brake.install()
    manager, folder = Manager(user=user_scope), Folder.of(name, user_scope=user_scope)
    tell = Teller(name, folder.path)
    try:
        run(name, manager, folder, tell, brake, user_scope=user_scope)
    except RolloutAborted as error:
        tell(Event(str(error), Message.ABORTED, (), error.done, error.total, Outcome.ABORTED))
        return codes.ABORTED
    except SystemdError as error:
        tell(Event("systemd does not answer", Message.FAILED, outcome=Outcome.FAILED), reason=str(error))
        return codes.FAILED
    except RolloutFailed as error:
        _explain(error, tell, began, user_scope=user_scope)
        if isinstance(error, NotRunning):
            return codes.NOT_RUNNING
        return codes.PARTLY if error.done else codes.FAILED
    return codes.DONE


def _explain(error: RolloutFailed, tell: Teller, began: float, *, user_scope: bool) -> None:
    """Say in one line why; then what the units that are to blame said last."""
    said = {unit: journal.entries(unit, began, user_scope=user_scope) for unit in error.units}
    event = Event(str(error), Message.FAILED, error.units, error.done, error.total, Outcome.FAILED)
    if isinstance(error, BadConfiguration):
        first, *more = error.error.problems
        tell(event, reason=f"{first}{f' (and {len(more)} more)' if more else ''}")
    else:
        tell(event, reason=journal.reason(said[error.units[0]]) if said else "")
    for unit, entries in said.items():
        for line in journal.last_lines(entries):
            text = line if line.startswith(unit) else f"{unit}: {line}"
            tell(Event(text, Message.WORKER, (unit,)))


def verdict(name: str, *, user_scope: bool) -> int:
    """Say whether the rollout that has just ended came to its end, however it ended: killed, too.

    When it did not, `systemctl reload NAME.target` must fail, and a failure does not travel from the
    coordinator to the target: only a cancelled job does that. When one more reload was asked for since it
    began, systemd runs it again, and that has the last word; but not after an operator aborted it.
    A surge worker that a killed rollout left behind is stopped.
    """
    folder, manager = Folder.of(name, user_scope=user_scope), Manager(user=user_scope)
    if folder.take_success():
        return codes.DONE
    manager.begin_to_stop(list(filter(is_surge, alive(manager.loaded(f"{name}@*.service")))))
    if manager.job(f"{name}.service", "stop", "restart"):
        return codes.DONE  # it was killed for this; the reload's own job is gone
    aborted = [line.outcome for line in progress.read(folder.path)[-1:]] == [Outcome.ABORTED]
    own, targets = manager.job(f"{name}.service", "reload"), manager.job(f"{name}.target", "reload")
    asked_again = own is not None and own.waits
    if targets is not None and (aborted or not asked_again):
        manager.cancel(targets.number)
    if own is not None and aborted and asked_again:
        manager.cancel(own.number)
    return codes.VERDICT
