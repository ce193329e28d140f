"""Paths of the installer and of the first boot, relative to the root directory, the progress of the first boot, and the
checkout that runs without an installation.
"""

from __future__ import annotations

from pathlib import Path

from pi_cam_daemon.system import files

# made by scripts/install: a virtual environment for each release, and a link to the current one
RELEASES = Path("opt/pi-cam-daemon/releases")
CURRENT = Path("opt/pi-cam-daemon/current")
INSTALLER = CURRENT / "install"
# the settings that a newer release knows, as section.key, one a line; written when the installer goes back
NEWER_KEYS = Path("opt/pi-cam-daemon/newer-keys")
# made by scripts/build-image, removed at the end of the first boot
FOLDER = Path("var/lib/pi-cam-daemon-first-boot")
ARTEFACT = FOLDER / "artefact.tar.zst"
WHAT = "picamera2, for cameras on the ribbon connector,"
PROGRESS = Path("run/pi-cam-daemon-first-boot")  # in memory: lost at the next boot


def checkout() -> Path | None:
    """Return the checkout that this program runs from; None if it is installed."""
    folder = Path(__file__).parents[2]
    return folder if (folder / "scripts/run").is_file() else None


def progress(root: Path = Path("/")) -> str:
    """Return a sentence about what is being installed, "" if nothing is. Tests pass a *root* of their own."""
    # the camera may start before the installation
    waiting = f"{WHAT} is about to be installed" if (root / ARTEFACT).exists() else ""
    return files.text(root / PROGRESS) or waiting
