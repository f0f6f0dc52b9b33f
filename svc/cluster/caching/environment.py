"""The LMDB environment of an app: files that all its workers map, read and write, killed at any moment.

A read is a lookup in mapped memory, which waits for nobody. A write is a transaction that either happened or
did not, whatever becomes of the process in the middle of it: the kernel frees its locks, and a page that
readers can see is never written to (mdb_txn_commit(), "lmdb.h").
"""

import errno
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from svc.cluster.caching import entries
from svc.cluster.caching.tenancy import Tenancy
from svc.cluster.caching.writing import WriteLock
from svc.cluster.errors import CacheError

try:
    import lmdb
except ModuleNotFoundError:
    raise CacheError(
        "the cache that workers share needs the package lmdb in the application's interpreter: "
        f"`{sys.executable} -m pip install lmdb`, or python3-lmdb of Debian for /usr/bin/python3"
    ) from None

if TYPE_CHECKING:
    from svc.cluster.caching.entries import Writing

T = TypeVar("T")

READERS = 8192
"""Processes that can read at a time. The table is sparse."""

FREE = 8
"""This part of /run stays free: systemd itself cannot do without."""

SMALLEST = 1 << 20
"""Bytes of which use can be made."""

LARGEST = 16
"""A value may have 1 / LARGEST of the file."""

EVICTED_AT_A_TIME = 64
"""So that a store that became smaller does not shrink within one call."""

PATIENCE = 1.0
"""Seconds for which a full store waits for a reader that stands still; later calls do not wait for it."""

# What another program wrote, or a later format of LMDB, or another size of memory pages.
_FOREIGN = (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError, lmdb.PanicError)


class Environment:
    """The files in `folder`, of at most `size` bytes, and less where /run is small: it is one `among` so many
    that grow at a time. A process has one for a folder ("lmdb.h": "Do not have open an LMDB database twice in
    the same process"), and none while it forks.
    """

    def __init__(self, folder: Path, size: int, *, among: int) -> None:
        self.folder = folder
        self.size = size
        self._among = among
        self.room = size
        self._pages = 0
        self._reading = threading.Lock()
        self._env: lmdb.Environment | None = None
        self._given_up: tuple[int, int] | None = None  # a reader that was waited for in vain
        try:
            for made in (folder.parent, folder):  # the mode is not for those that `parents` makes
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writing = WriteLock(folder)
        except OSError as error:
            raise self._unusable(error) from error
        with self._writing:
            self._opened()

    def close(self) -> None:
        """Let go of the files."""
        self._close()
        self._writing.close()

    def before_fork(self) -> None:
        """Close what a child may not inherit ("lmdb.h": "Do not use … in child processes"). It opens again
        when it is used; until after_fork() no other thread uses it.
        """
        self._writing.keep()
        self._reading.acquire()
        self._close()

    def after_fork(self, *, child: bool) -> None:
        """Go on, in the parent and in the child."""
        self._reading.release()
        self._writing.give_back(new_process=child)

    def get(self, key: bytes) -> bytes | None:
        """The record of a key, whether its time has run out or not."""
        with self._reading:
            try:
                txn = self._env.begin() if self._env else None
            except lmdb.MapResizedError:
                txn = None
            except lmdb.Error as error:
                raise self._unusable(error) from error
            if txn is not None:
                try:
                    return txn.get(key)
                finally:
                    txn.abort()
        with self._writing:
            self._learn_size()
        return self.get(key)

    def write(self, work: "Callable[[Writing], T]") -> T:
        """Do `work` in a transaction, after making room where there is none. It may be done several times."""
        count, patience = 0, time.monotonic() + PATIENCE
        while True:
            try:
                with self._writing, self._begin() as txn:
                    return work(txn)
            except lmdb.Error as error:
                if not self._is_full(error):
                    raise self._unusable(error) from error
                if self._make_room(count, patience, error):
                    count = count * 4 or 1

    def drop_all(self, txn: "Writing") -> None:
        """Remove all entries."""
        txn.drop(self._opened().open_db(None, txn), delete=False)

    def keep_room(self, txn: "Writing", spared: bytes) -> None:
        """Where the entries take too much of the file, remove some of those that were set longest ago, but
        never `spared`.
        """
        self._evict(txn, EVICTED_AT_A_TIME, self._pages, spared)

    # -- for who holds the lock of the writers --

    def _begin(self) -> "Writing":
        try:
            return self._opened().begin(write=True)
        except lmdb.MapResizedError:
            self._learn_size()
        return self._opened().begin(write=True)

    def _learn_size(self) -> None:
        """Adopt the size of a worker that was told of a larger one and has used it: no transaction may be
        under way then ("lmdb.h", mdb_env_set_mapsize()).
        """
        env = self._opened()
        with self._reading:
            env.set_mapsize(0)

    def _opened(self) -> lmdb.Environment:
        if self._env is None:
            try:
                self._tenancy = Tenancy(self.folder)
                try:
                    env = self._open()
                except BaseException:
                    self._tenancy.close()
                    raise
            except (OSError, lmdb.Error) as error:
                raise self._unusable(error) from error
            self._tenancy.share()
            env.reader_check()
            # Takes this process's place among the readers, which all its reads use: that has a lock as well.
            env.begin().abort()
            # Beside them there must always be room for two transactions with the largest value: what the one
            # frees the next cannot use yet.
            self._pages = self.room // env.stat()["psize"] * 3 // 4
            self._env = env
        return self._env

    def _open(self) -> lmdb.Environment:
        tenancy = self._tenancy
        if tenancy.alone:
            if tenancy.size > self.size:
                tenancy.begin_anew()
            try:
                return self._open_files()
            except _FOREIGN:
                tenancy.begin_anew()
        return self._open_files()

    def _open_files(self) -> lmdb.Environment:
        self.room = self._room()
        # Nothing is to survive the host, so nothing is to be synced. Not `writemap`: with it a full /run
        # would be a SIGBUS, and who is killed between two stores to a meta page (mdb_env_write_meta()) would
        # leave a tree that never was, where a pwrite(2) happens or does not.
        return lmdb.open(
            os.fspath(self.folder), map_size=self.room, mode=0o600, sync=False, metasync=False,
            max_readers=READERS, max_spare_txns=1, max_dbs=0,
        )  # fmt: skip

    def _room(self) -> int:
        """Bytes that the file may have, in whole pages."""
        system = os.statvfs(self.folder)
        left = max(0, system.f_bavail - system.f_blocks // FREE) * system.f_frsize
        room = min(self.size, self._tenancy.taken + left // self._among)
        if room < SMALLEST:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return room // mmap.PAGESIZE * mmap.PAGESIZE

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
            self._tenancy.close()

    def _used(self, txn: "Writing") -> int:
        """Pages that the entries take."""
        stat: dict[str, Any] = dict(txn.stat(self._opened().open_db(None, txn)))
        return int(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])

    def _make_room(self, count: int, patience: float, error: lmdb.Error) -> bool:
        """Let go of pages that only the dead still see; wait for a reader; else remove the `count` oldest.

        Returns whether it was that. Raises CacheError when all that does not help.
        """
        with self._writing:
            if self._opened().reader_check():
                return False
            reader = self._old_reader()
            if reader is None:
                if not self._evict_oldest(count):
                    raise CacheError(f"the cache in {self.folder} has no room: {error}")
                return True
        # What it sees cannot be used again. Most likely the kernel has not let it run for a moment.
        if reader == self._given_up or time.monotonic() > patience:
            self._given_up = reader
            raise CacheError(
                f"the cache in {self.folder} is full: process {reader[1]} stands still in the middle of a "
                "read, so what is removed cannot be used again"
            )
        time.sleep(0.001)
        return False

    def _old_reader(self) -> tuple[int, int] | None:
        """Who reads, for the longest time, what later transactions have replaced: transaction, process."""
        env = self._opened()
        rows = [line.split() for line in env.readers().splitlines()[1:]]
        reading = [(int(txn), int(pid)) for pid, _, txn in rows if txn != "-"]
        found = min(reading, default=None)
        return found if found and env.info()["last_txnid"] > found[0] + 1 else None

    def _evict(self, txn: "Writing", count: int, pages: int, spared: bytes = b"") -> int:
        """Remove the entries that were set longest ago, until `pages` are used or `count` are gone."""
        for gone in range(count):
            if self._used(txn) <= pages:
                return gone
            key = entries.oldest(txn)
            if key is None or key == spared:
                return gone
            entries.drop(txn, key)
        return count

    def _evict_oldest(self, count: int) -> bool:
        try:
            with self._begin() as txn:
                if self._evict(txn, count, 0) < min(count, 1):
                    return False
            # Pages that a transaction frees are free for the one after the next (mdb_page_alloc()).
            with self._begin() as txn:
                txn.put(entries.NOTHING, b"")
                txn.delete(entries.NOTHING)
        except lmdb.Error as error:
            if not self._is_full(error):
                raise
            return False
        return True

    def _is_full(self, error: lmdb.Error) -> bool:
        """Whether there was no room: in the file, or others have filled /run (LMDB calls that any error)."""
        return isinstance(error, lmdb.MapFullError) or not os.statvfs(self.folder).f_bavail

    def _unusable(self, error: Exception) -> CacheError:
        return CacheError(
            f"the cache in {self.folder} cannot be used: {error}; if that stays, begin with a new one: "
            "stop the app, remove that folder, start it"
        )
