"""Make certificates of a home CA with the commands of docs/tls.md."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "tls.md"


@dataclass(frozen=True)
class Certificate:
    """The certificate and key of a camera at 127.0.0.1, and the CA that its viewers trust."""

    ca: Path
    certificate: Path
    key: Path

    def settings(self, **more: object) -> dict[str, object]:
        """Return settings that use the certificate."""
        http = {"tls_certificate": str(self.certificate), "tls_key": str(self.key), **more}
        return {"video.width": 320, "video.height": 240, **{f"http.{key}": value for key, value in http.items()}}

    def client(self) -> ssl.SSLContext:
        """Return a client's TLS context that trusts only this CA."""
        return ssl.create_default_context(cafile=self.ca)


def make(folder: Path) -> Certificate:
    """Make a CA in *folder* and a camera certificate signed by it; an existing CA is used again."""
    folder.mkdir(exist_ok=True)
    commands = [line.strip() for line in DOCUMENT.read_text().splitlines() if line.startswith("    openssl ")]
    authority, request, sign = (command.replace("192.168.1.20", "127.0.0.1") for command in commands)
    ca = folder / "home-ca.pem"
    for command in [*([] if ca.exists() else [authority]), request, sign]:
        subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True, timeout=30)
    (folder / "camera.key").chmod(0o640)
    return Certificate(ca, folder / "camera.pem", folder / "camera.key")
