"""Certificates for tests, by an authority of the test's own."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[host]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate and of its key."""

    certificate: Path
    key: Path


class Authority:
    """An authority whose files, and those of what it certifies, are in a folder that it makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "config").write_text(_CONFIG)
        self._own = self._make("authority", "-extensions", "authority")
        self.certificate = self._own.certificate

    def certify(self, name: str, *names: str) -> Certificate:
        """Return a certificate with these names, each as OpenSSL has them: DNS:HOST or IP:ADDRESS."""
        own = self._own
        issuer = ["-CA", str(own.certificate), "-CAkey", str(own.key), "-extensions", "host"]
        return self._make(name, *issuer, *(["-addext", f"subjectAltName={','.join(names)}"] if names else []))

    def _make(self, name: str, *options: str) -> Certificate:
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        subprocess.run(
            [
                "openssl", "req", "-x509", "-config", str(self._folder / "config"), "-subj", f"/CN={name}",
                "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-out", str(made.certificate), "-keyout", str(made.key), *options,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        return made
