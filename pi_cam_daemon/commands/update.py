"""The command `update FILE|URL`: install an artefact if a key that this camera trusts has signed it.

The signature is OpenSSH's (`ssh-keygen -Y sign -n pi-cam-daemon`), in a file beside the artefact with `.sig` added.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pi_cam_daemon.commands.download import UpdateError, fetch
from pi_cam_daemon.commands.output import FAILED, complain, written
from pi_cam_daemon.system import setup

SIGNERS = Path("/etc/pi-cam-daemon/allowed_signers")
INSTALLER = Path("/") / setup.INSTALLER
# a signature that was made for another purpose is refused
NAMESPACE = "pi-cam-daemon"
# on the card, not in memory: an artefact may be larger than that of a Zero
_SCRATCH = Path("/var/tmp")
MOST_BYTES = 500_000_000
MOST_SIGNATURE_BYTES = 64_000
# ssh-keygen reads the whole artefact; a slow card gives about 10 MB a second
_VERIFY_SECONDS = 300.0


def run(options: argparse.Namespace) -> int:
    """Install an artefact and return the exit status."""
    return as_root(partial(update, options.source, options.allow_downgrade))


def as_root(work: Callable[[], None]) -> int:
    """Do *work* if this is root, who alone may install, and return the exit status."""
    try:
        if (checkout := setup.checkout()) and not INSTALLER.exists():
            raise UpdateError(f"{checkout} is a checkout; update it with git pull, then start scripts/run again")
        if os.geteuid():  # the installer would refuse, after the artefact was fetched
            raise UpdateError("an update needs root; run it with sudo")
        return written(work)
    except UpdateError as error:
        complain(str(error))
    return FAILED


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
    check_installer(installer)
    check_signers(signers)
    with tempfile.TemporaryDirectory(prefix="pi-cam-daemon-update-", dir=_SCRATCH) as folder:
        artefact, signature = Path(folder) / "artefact.tar.zst", Path(folder) / "artefact.tar.zst.sig"
        fetch(f"{source}.sig", signature, MOST_SIGNATURE_BYTES)
        fetch(source, artefact, MOST_BYTES)
        signer = verify(artefact, signature, signers)
        print(f"signed by {signer}")
        # no apt: an update works without internet
        options = ["--no-apt"] if allow_downgrade else ["--no-apt", "--no-downgrade"]
        if subprocess.run([installer, *options, "--from", artefact], check=False).returncode:
            raise UpdateError("the update was not installed; the reason is above")
        # else a first boot that still waits for the network would install the image's older artefact
        if waiting.exists():
            shutil.move(artefact, waiting)


def check_installer(installer: Path) -> None:
    """Raise UpdateError unless scripts/install has installed this host."""
    if not installer.exists():
        raise UpdateError(
            f"{installer}: no such file; update installs releases of scripts/install, and a Debian package is apt's"
        )


def check_signers(signers: Path) -> None:
    """Raise UpdateError unless this host has a list of keys that it trusts."""
    if not signers.exists():
        raise UpdateError(f"{signers}: no such file; it lists the keys that may sign updates, see docs/image.md")


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
