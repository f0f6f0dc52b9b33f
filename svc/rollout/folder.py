"""The coordinator's folder, /run/svc/.rollout/NAME: what a rollout leaves to workers and to the next one.

systemd makes it when the app starts and removes it when the app stops (RuntimeDirectory= of the coordinator),
so there is never anything in it about an app that does not run. Only the coordinator writes here.

    generation      what the last rollout meant, and whether it came to its end: for the next one
    environment     read by systemd at each start of a worker: which generation it will run, and whether a
                    rollout has brought that to its end yet
    progress        what the last rollout did, for whoever watches (`svc.rollout.progress`)
    succeeded       left by a rollout that came to its end, for `svcctl rollout --verdict`
    units/          the units that the app runs with (`svc.units.running`)
    lock            held by the one rollout that runs
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from svc.folders import rollout_folder
from svc.rollout import generation
from svc.units.running import FOLDER


@dataclass(frozen=True, slots=True)
class Record:
    """One rollout: its number, the digest of what workers are started with, and whether it is finished."""

    number: int
    digest: str
    finished: bool = False

    @property
    def generation(self) -> str:
        """What its workers are told that they run."""
        return generation.name(self.number, self.digest)


def follow(last: Record | None, digest: str) -> Record:
    """Return the rollout that comes after the last one: its continuation when that did not come to its end
    and is known to have meant the same version, else a new one.
    """
    if last is None:
        return Record(1, digest)
    if not last.finished and digest and digest == last.digest:
        return last
    return Record(last.number + 1, digest)


class Folder:
    """The folder of one app."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, name: str, *, user_scope: bool) -> "Folder":
        """Return the folder of the app `name`."""
        return cls(Path(rollout_folder(name, user_scope=user_scope)))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until no other rollout of this app runs, and keep others out. Raises OSError.

        The lock goes with the process, however that ends.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> Record | None:
        """Return the record of the last rollout; None when there was none since the app started."""
        try:
            return Record(**json.loads((self.path / "generation").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None  # a record that cannot be read makes the next rollout replace everybody

    def write(self, record: Record) -> None:
        """Store a record, and tell the workers that start from now on. Raises OSError."""
        self._put("generation", json.dumps(asdict(record)))
        lines = [f"{generation.VARIABLE}={record.generation}\n"]
        if not record.finished:
            lines.append("SVC_UNPROVEN=1\n")
        self._put("environment", "".join(lines))

    def succeed(self) -> None:
        """Leave word that a rollout came to its end. Raises OSError."""
        if (
            "INVOCATION_ID" in os.environ
        ):  # systemd.exec(5); by hand nobody asks for it, but the next one would
            (self.path / "succeeded").touch()

    def take_success(self) -> bool:
        """Say whether a rollout came to its end since this was asked last."""
        try:
            (self.path / "succeeded").unlink()
        except OSError:
            return False
        return True

    def keep(self, units: dict[str, str]) -> None:
        """Store the units that the app runs with from now on. Raises OSError."""
        folder = self.path / FOLDER
        folder.mkdir(exist_ok=True)
        # First what is new: at no time may a listener's unit be in neither.
        for unit, text in units.items():
            self._put(f"{FOLDER}/{unit}", text)
        for old in folder.iterdir():
            if old.name not in units:
                old.unlink()

    def _put(self, name: str, text: str) -> None:
        # Written beside and moved: a reader sees all of it or nothing, also when the disk is full.
        path, new = self.path / name, self.path / f"{name}.new"
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
