"""Updates that were signed by somebody this camera trusts: `pi-cam-daemon update FILE|URL`.

The signature is OpenSSH's (`ssh-keygen -Y sign -n pi-cam-daemon`), and lies beside the artefact as `.sig`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

SIGNERS = Path("/etc/pi-cam-daemon/allowed_signers")
INSTALLER = Path("/opt/pi-cam-daemon/current/install")
# what the signature is for: one that was made for something else is none for this
NAMESPACE = "pi-cam-daemon"
# on the card: it is larger than the memory of a Zero
_SCRATCH = Path("/var/tmp")
_MOST_BYTES = 500_000_000
_NETWORK_SECONDS = 60.0


class UpdateError(Exception):
    """The message is what the user reads: what is wrong, and what to do."""


def update(source: str, signers: Path = SIGNERS, installer: Path = INSTALLER) -> None:
    """Fetch, verify, install; the installer goes back to the release before when the new one does not serve."""
    if not signers.exists():
        raise UpdateError(f"{signers}: no such file; it says whose updates are taken, see docs/image.md")
    with tempfile.TemporaryDirectory(prefix="pi-cam-daemon-update-", dir=_SCRATCH) as folder:
        artefact, signature = Path(folder) / "artefact.tar.zst", Path(folder) / "artefact.tar.zst.sig"
        _fetch(f"{source}.sig", signature)
        _fetch(source, artefact)
        signer = verify(artefact, signature, signers)
        print(f"signed by {signer}")
        # the release changes, not the system: a camera without internet has to be able to do it
        if subprocess.run([installer, "--no-apt", "--from", artefact], check=False).returncode:
            raise UpdateError("the update was not installed; what is wrong is said above")


def verify(artefact: Path, signature: Path, signers: Path) -> str:
    """Who signed it, of those in *signers*. Raises UpdateError."""
    found = _ssh_keygen("find-principals", artefact, signature, signers)
    names = found.stdout.split("\n")[0].strip()
    if found.returncode or not names:
        raise UpdateError(f"signed by nobody in {signers}; nothing was changed")
    name = names.split(",")[0]
    done = _ssh_keygen("verify", artefact, signature, signers, "-I", name)
    if done.returncode:
        raise UpdateError(f"the signature is wrong, the file is not what {name} signed; nothing was changed")
    return name


def _ssh_keygen(
    what: str, artefact: Path, signature: Path, signers: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    argv: list[str | Path] = ["ssh-keygen", "-Y", what, "-f", signers, "-n", NAMESPACE, "-s", signature, *more]
    try:
        with artefact.open("rb") as file:
            return subprocess.run(argv, stdin=file, capture_output=True, text=True, check=False, timeout=300)
    except FileNotFoundError:
        raise UpdateError("ssh-keygen is missing; sudo apt install openssh-client") from None


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
