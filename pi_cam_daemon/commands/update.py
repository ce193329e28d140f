"""The command `update`: install an artefact if a key that this camera trusts has signed it.

The signature is OpenSSH's (`ssh-keygen -Y sign -n pi-cam-daemon`), in a file beside the artefact with `.sig` added.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from pi_cam_daemon.commands.output import FAILED, OK, complain
from pi_cam_daemon.system import setup

SIGNERS = Path("/etc/pi-cam-daemon/allowed_signers")
INSTALLER = Path("/") / setup.INSTALLER
# a signature that was made for another purpose is refused
NAMESPACE = "pi-cam-daemon"
# on the card, not in memory: an artefact may be larger than that of a Zero
_SCRATCH = Path("/var/tmp")
_MOST_BYTES = 500_000_000
_MOST_SIGNATURE_BYTES = 64_000
_NETWORK_SECONDS = 60.0
# A server may take so long for its first byte, and then has to be at least this fast on average.
_SLOWEST_BYTES_PER_SECOND = 10_000
# ssh-keygen reads the whole artefact; a slow card gives about 10 MB a second
_VERIFY_SECONDS = 300.0


class UpdateError(Exception):
    """An update is not possible. The message tells the user what is wrong and what to do."""


def run(options: argparse.Namespace) -> int:
    """Install an artefact and return the exit status."""
    try:
        if os.geteuid():  # the installer would refuse, after the artefact was fetched
            raise UpdateError("an update needs root; run it with sudo")
        update(options.source, options.allow_downgrade)
    except UpdateError as error:
        complain(str(error))
        return FAILED
    return OK


def update(
    source: str,
    allow_downgrade: bool = False,
    signers: Path = SIGNERS,
    installer: Path = INSTALLER,
    waiting: Path = Path("/") / setup.ARTEFACT,
) -> None:
    """Fetch, verify and install. If the new release does not serve, the installer goes back to the one before.

    A signature never expires, so somebody who can replace the file at a URL could offer an old release with known
    holes. Therefore a version older than the current one needs *allow_downgrade*.
    """
    if not installer.exists():
        raise UpdateError(
            f"{installer}: no such file; update installs releases of scripts/install, and a Debian package is apt's"
        )
    if not signers.exists():
        raise UpdateError(f"{signers}: no such file; it lists the keys that may sign updates, see docs/image.md")
    with tempfile.TemporaryDirectory(prefix="pi-cam-daemon-update-", dir=_SCRATCH) as folder:
        artefact, signature = Path(folder) / "artefact.tar.zst", Path(folder) / "artefact.tar.zst.sig"
        fetch(f"{source}.sig", signature, _MOST_SIGNATURE_BYTES)
        fetch(source, artefact, _MOST_BYTES)
        signer = verify(artefact, signature, signers)
        print(f"signed by {signer}")
        # no apt: an update works without internet
        options = ["--no-apt"] if allow_downgrade else ["--no-apt", "--no-downgrade"]
        if subprocess.run([installer, *options, "--from", artefact], check=False).returncode:
            raise UpdateError("the update was not installed; the reason is above")
        # else a first boot that still waits for the network would install the image's older artefact
        if waiting.exists():
            shutil.move(artefact, waiting)


def verify(artefact: Path, signature: Path, signers: Path, seconds: float = _VERIFY_SECONDS) -> str:
    """Return the name in *signers* whose key signed *artefact*. Raises UpdateError."""
    argv = ("-f", signers, "-n", NAMESPACE, "-s", signature)
    found = _ssh_keygen(artefact, seconds, "find-principals", *argv)
    names = found.stdout.split("\n")[0].strip()
    if found.returncode or not names:
        raise UpdateError(f"not signed by any key in {signers}; nothing was changed")
    name = names.split(",")[0]
    done = _ssh_keygen(artefact, seconds, "verify", *argv, "-I", name)
    if done.returncode:
        raise UpdateError(f"the signature is wrong: this is not the file that {name} signed; nothing was changed")
    return name


def _ssh_keygen(signed: Path, seconds: float, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    try:
        with signed.open("rb") as file:
            return subprocess.run(
                ["ssh-keygen", "-Y", *argv], stdin=file, capture_output=True, text=True, check=False, timeout=seconds
            )
    except FileNotFoundError:
        raise UpdateError("ssh-keygen is missing; sudo apt install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise UpdateError(f"ssh-keygen took longer than {seconds:g} s; nothing was changed") from None


def fetch(source: str, target: Path, most: int, seconds: float = _NETWORK_SECONDS) -> None:
    """Copy the file or URL *source* to *target*. Raises UpdateError.

    At most *most* bytes are taken, and *seconds* without a byte are waited for. A thread does it, because name lookups,
    headers that drip, and named pipes have no deadline of their own.
    """
    copying = _Copying(source, target, most, seconds)
    begun = time.monotonic()
    copying.start()
    while copying.is_alive():
        copying.join(0.1)
        if time.monotonic() - begun > seconds + copying.size / _SLOWEST_BYTES_PER_SECOND:
            copying.stopping = True
            raise UpdateError(f"{source}: sends under {_SLOWEST_BYTES_PER_SECOND // 1000} kB a second; try again later")
    if copying.error:
        raise copying.error


class _Copying(threading.Thread):
    """Copies *source* to *target* until *stopping*. *size* bytes are copied; *error* is the reason for its end."""

    def __init__(self, source: str, target: Path, most: int, seconds: float) -> None:
        super().__init__(name="fetch", daemon=True)
        self._source = source
        self._target = target
        self._most = most
        self._seconds = seconds
        self.size = 0
        self.stopping = False
        self.error: UpdateError | None = None

    def run(self) -> None:
        try:
            with self._opened() as source, self._target.open("wb") as target:
                while not self.stopping and (data := source.read1(1 << 20)):
                    self.size += len(data)
                    if self.size > self._most:
                        raise ValueError(f"larger than {self._most // 1000} kB, so it is no update")
                    target.write(data)
                # what an HTTP answer still lacks of its Content-Length; read1 takes its early end for the end
                if not self.stopping and getattr(source, "length", None):
                    raise ValueError("the connection ended too early; try again")
        except (OSError, ValueError, HTTPException) as error:
            reason = (
                error.reason if isinstance(error, urllib.error.URLError) else getattr(error, "strerror", "") or error
            )
            self.error = UpdateError(f"{self._source}: {reason}")

    def _opened(self) -> Any:
        if "://" not in self._source:
            return Path(self._source).open("rb")
        return urllib.request.urlopen(self._source, timeout=self._seconds)
