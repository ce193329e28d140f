"""The command `first-boot`: install picamera2 on a card whose image lacks it. systemd runs it until it succeeds."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from pi_cam_daemon.system import files, setup

_SECONDS = 3600.0


def run(root: Path = Path("/")) -> bool:
    """Install picamera2, from the card's .debs or over the network, and a release that fits it. False: try again."""
    debs = sorted((root / setup.FOLDER / "debs").glob("*.deb"))
    _report(root, f"{setup.WHAT} is being installed {'from the card' if debs else 'over the network'}")
    # finish what a power cut left half-configured
    problem = _run(["dpkg", "--configure", "-a"])
    if not problem and debs:
        problem = _run(["apt-get", "-y", "-qq", "--no-install-recommends", "install", *debs])
    # the installer gets by apt what is still missing, and makes a release that fits the packages
    before = (root / setup.CURRENT).readlink()
    problem = problem or _run([root / setup.INSTALLER, "--from", root / setup.ARTEFACT])
    if problem:
        _report(root, f"{setup.WHAT} is not installed yet; the next try is in a minute: {problem}")
        return False
    # the artefact goes last: the unit starts again while it is there, so a power cut before that does no harm
    shutil.rmtree(root / setup.FOLDER / "debs", ignore_errors=True)
    shutil.rmtree(root / setup.FOLDER)
    (root / setup.PROGRESS).unlink()
    if (root / setup.CURRENT).readlink() == before:
        # the same release goes on, but its daemon looked for picamera2 before it was there
        _run(["systemctl", "--no-block", "restart", "pi-cam-daemon.service"])
    return True


def _report(root: Path, text: str) -> None:
    print(text, flush=True)
    files.replace(root / setup.PROGRESS, f"{text}\n".encode())


def _run(argv: list[str | Path]) -> str:
    """Return why the command failed, empty if it succeeded."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=environment,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took longer than an hour"
    output = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
    return reason(output) if done.returncode else ""


def reason(output: str) -> str:
    """Return the errors of apt in *output*, or else its last line."""
    errors = re.findall(r"\bE: ([^;\n]+)", output)
    return "; ".join(dict.fromkeys(errors)) or output.splitlines()[-1]
