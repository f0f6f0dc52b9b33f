"""The coordinator's folder, /run/svc/.rollout/NAME: what a rollout leaves to workers and to the next one.

systemd makes it when the app starts and removes it when the app stops (RuntimeDirectory= of the coordinator),
so there is never anything in it about an app that does not run. Only the coordinator writes here.

    environment     read by systemd at each start of a worker: whether a rollout has brought what that
                    worker will run to its end yet
"""

from pathlib import Path

from svc.folders import rollout_folder


class Folder:
    """The folder of one app."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, name: str, *, user_scope: bool) -> "Folder":
        """Return the folder of the app `name`."""
        return cls(Path(rollout_folder(name, user_scope=user_scope)))

    def tell_workers(self, *, proven: bool) -> None:
        """Tell the workers that start from now on. Raises OSError."""
        self._put("environment", "" if proven else "SVC_UNPROVEN=1\n")

    def _put(self, name: str, text: str) -> None:
        # Written beside and moved: a reader sees all of it or nothing, also when the disk is full.
        path, new = self.path / name, self.path / f"{name}.new"
        try:
            new.write_text(text)
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
