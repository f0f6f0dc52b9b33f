"""The right to compute, among all processes of a host: a lock on one byte of one file, for each key.

The kernel frees it when its holder dies. One file serves any number of keys.
"""

import os
from hashlib import blake2b
from pathlib import Path

from svc.cluster import ofd


class HostClaim:
    """The claim on `key`: the byte of the file `path` that its hash tells."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        # 62 bits, for an offset has 63. Two keys that meet in one byte would only wait for each other.
        self._byte = int.from_bytes(blake2b(key, digest_size=8).digest(), "big") >> 2
        self._fd = -1

    def acquire(self) -> bool:
        """See Claim."""
        if self._fd < 0:
            self._fd = ofd.open_file(self._path)
        return ofd.try_lock(self._fd, self._byte)

    def release(self) -> None:
        """See Claim."""
        if self._fd >= 0:
            # To close it is not enough, if a child was forked in the meantime.
            ofd.unlock(self._fd, self._byte)
            os.close(self._fd)
            self._fd = -1
