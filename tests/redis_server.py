"""A Redis or Valkey server of a test's own, in a folder of its own, that can go away and come back.

SVC_TEST_REDIS_SERVER=/PATH names its program; without it that is redis-server, else valkey-server.
"""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.certificates import Authority, Certificate

PROGRAM = "SVC_TEST_REDIS_SERVER"
_NAMES = ("redis-server", "valkey-server")


@dataclass(frozen=True)
class Tls:
    """What a server shows to its clients, and whether it wants a certificate of theirs too."""

    authority: Authority
    own: Certificate
    of_clients: bool = False

    def options(self) -> list[str]:
        """Return the server's."""
        return [
            "--tls-cert-file", str(self.own.certificate), "--tls-key-file", str(self.own.key),
            "--tls-ca-cert-file", str(self.authority.certificate),
            "--tls-auth-clients", "yes" if self.of_clients else "no",
        ]  # fmt: skip


class RedisServer:
    """A server on the unix socket `folder`/redis, or on a port of 127.0.0.1, with or without TLS.

    Use it as a context manager.
    """

    def __init__(self, folder: Path, *, port: int = 0, password: str = "", tls: Tls | None = None) -> None:
        self.socket = folder / "redis"
        self.url = f"redis://127.0.0.1:{port}" if port else f"unix://{self.socket}"
        listener = ["--port", str(port)]
        if tls is not None:
            self.url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={tls.authority.certificate}"
            listener = ["--port", "0", "--tls-port", str(port), *tls.options()]
        self._command = [
            _program(), *listener, "--bind", "127.0.0.1", "--unixsocket", str(self.socket),
            "--unixsocketperm", "777", "--dir", str(folder), "--save", "", "--appendonly", "no",
            *(["--requirepass", password] if password else []),
        ]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and return when connections are taken."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "ready to accept connections" in line.lower():
                return
        raise RuntimeError("".join(said))

    def stop(self) -> None:
        """Kill it: nothing that it had remains."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def freeze(self) -> None:
        """Let it stand still: connections are made, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _program() -> str:
    if chosen := os.environ.get(PROGRAM):
        return chosen
    for name in _NAMES:
        if found := shutil.which(name, path="/usr/local/bin:/usr/bin:/usr/sbin:/bin"):
            return found
    raise FileNotFoundError(f"none of {', '.join(_NAMES)} is installed: run `make deps`")
