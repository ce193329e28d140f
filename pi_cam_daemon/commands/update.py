"""The command `update`: installs an artefact that was signed by somebody this camera trusts.

The signature is OpenSSH's (`ssh-keygen -Y sign -n pi-cam-daemon`), and lies beside the artefact as `.sig`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from pi_cam_daemon.commands.output import FAILED, OK, complain
from pi_cam_daemon.system import setup

SIGNERS = Path("/etc/pi-cam-daemon/allowed_signers")
INSTALLER = Path("/") / setup.INSTALLER
# what the signature is for: one that was made for something else is none for this
NAMESPACE = "pi-cam-daemon"
# on the card: it is larger than the memory of a Zero
_SCRATCH = Path("/var/tmp")
_MOST_BYTES = 500_000_000
_NETWORK_SECONDS = 60.0
# it reads the whole artefact, which a slow card gives at some 10 MB a second
_VERIFY_SECONDS = 300.0


class UpdateError(Exception):
    """The message is what the user reads: what is wrong, and what to do."""


def run(options: argparse.Namespace) -> int:
    """Install an artefact that somebody trusted has signed."""
    try:
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
    """Fetch, verify, install; the installer goes back to the release before when the new one does not serve.

    A signature is good for ever, also that of a release whose holes are known by now: whoever can replace the file at
    an address could bring it back. So what is older than what serves has to be asked for.
    """
    if not signers.exists():
        raise UpdateError(f"{signers}: no such file; it says whose updates are taken, see docs/image.md")
    with tempfile.TemporaryDirectory(prefix="pi-cam-daemon-update-", dir=_SCRATCH) as folder:
        artefact, signature = Path(folder) / "artefact.tar.zst", Path(folder) / "artefact.tar.zst.sig"
        _fetch(f"{source}.sig", signature)
        _fetch(source, artefact)
        signer = verify(artefact, signature, signers)
        print(f"signed by {signer}")
        # the release changes, not the system: a camera without internet has to be able to do it
        options = ["--no-apt"] if allow_downgrade else ["--no-apt", "--no-downgrade"]
        if subprocess.run([installer, *options, "--from", artefact], check=False).returncode:
            raise UpdateError("the update was not installed; what is wrong is said above")
        # or a first boot that still waits for the network would bring back what came with the image
        if waiting.exists():
            shutil.move(artefact, waiting)


def verify(artefact: Path, signature: Path, signers: Path, seconds: float = _VERIFY_SECONDS) -> str:
    """Who signed it, of those in *signers*. Raises UpdateError."""
    argv = ("-f", signers, "-n", NAMESPACE, "-s", signature)
    found = _ssh_keygen(artefact, seconds, "find-principals", *argv)
    names = found.stdout.split("\n")[0].strip()
    if found.returncode or not names:
        raise UpdateError(f"signed by nobody in {signers}; nothing was changed")
    name = names.split(",")[0]
    done = _ssh_keygen(artefact, seconds, "verify", *argv, "-I", name)
    if done.returncode:
        raise UpdateError(f"the signature is wrong, the file is not what {name} signed; nothing was changed")
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


def _fetch(source: str, target: Path) -> None:
    try:
        if "://" not in source:
            shutil.copyfile(source, target)
            return
        with urllib.request.urlopen(source, timeout=_NETWORK_SECONDS) as answer, target.open("wb") as file:
            size = 0
            while data := answer.read(1 << 20):
                size += len(data)
                if size > _MOST_BYTES:
                    raise UpdateError(f"{source}: larger than {_MOST_BYTES // 1_000_000} MB, this is no update")
                file.write(data)
    except (OSError, ValueError, HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else getattr(error, "strerror", None) or error
        raise UpdateError(f"{source}: {reason}") from None
