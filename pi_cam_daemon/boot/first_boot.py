"""The first boot of a card whose image lacks picamera2: `pi-cam-daemon first-boot`, tried until it succeeds.

*root* is where the file system begins; tests give one of their own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from pi_cam_daemon.system import files, setup

_SECONDS = 3600.0


def run(root: Path = Path("/")) -> bool:
    """Install the .debs that came with the image, or over the network, and the release with them; False to retry."""
    debs = sorted((root / setup.FOLDER / "debs").glob("*.deb"))
    how = "from the card" if debs else "over the network"
    _tell(root, f"{setup.WHAT} is being installed {how}")
    # what a power cut has left half-configured is brought to its end first
    problem = _run(["dpkg", "--configure", "-a"])
    if not problem and debs:
        problem = _run(["apt-get", "-y", "-qq", "--no-install-recommends", "install", *debs])
    # the installer gets by apt what is still missing, and makes a release that suits
    before = (root / setup.CURRENT).readlink()
    problem = problem or _run([root / setup.INSTALLER, "--from", root / setup.ARTEFACT])
    if problem:
        _tell(root, f"{setup.WHAT} is not installed yet, tried again soon: {problem}")
        return False
    # what the unit's condition asks for goes last: a power cut before that is made up for
    shutil.rmtree(root / setup.FOLDER / "debs", ignore_errors=True)
    shutil.rmtree(root / setup.FOLDER)
    (root / setup.PROGRESS).unlink()
    if (root / setup.CURRENT).readlink() == before:
        # the release that runs suits, but has looked for picamera2 when it was not there
        _run(["systemctl", "--no-block", "restart", "pi-cam-daemon.service"])
    return True


def _tell(root: Path, text: str) -> None:
    print(text, flush=True)
    files.replace(root / setup.PROGRESS, f"{text}\n".encode())


def _run(argv: list[str | Path]) -> str:
    """Empty if it succeeded, else why not."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=environment,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took longer than an hour"
    said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
    return reason(said) if done.returncode else ""


def reason(said: str) -> str:
    """The heart of what apt, or the installer for it, *said*: its errors, or else the last line."""
    errors = re.findall(r"\bE: ([^;\n]+)", said)
    return "; ".join(dict.fromkeys(errors)) or said.splitlines()[-1]
