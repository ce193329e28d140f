"""Set-up of a card: the folders of the installer, and the progress of the first boot.

Paths are relative to *root*, where the file system begins; tests give one of their own.
"""

from __future__ import annotations

from pathlib import Path

from pi_cam_daemon.system import files

# as scripts/install lays them out: a virtual environment for each release, and a link to the one that serves
RELEASES = Path("opt/pi-cam-daemon/releases")
CURRENT = Path("opt/pi-cam-daemon/current")
INSTALLER = CURRENT / "install"
# left by scripts/build-image for the first boot, which removes it at its end
FOLDER = Path("var/lib/pi-cam-daemon-first-boot")
ARTEFACT = FOLDER / "artefact.tar.zst"
WHAT = "picamera2, for cameras on the ribbon connector,"
# in memory: gone when the first boot is done, or at the next boot
PROGRESS = Path("run/pi-cam-daemon-first-boot")


def progress(root: Path = Path("/")) -> str:
    """Return a sentence on what is being installed, empty if nothing is."""
    # the camera starts before the first boot has begun its work
    waiting = f"{WHAT} is about to be installed" if (root / ARTEFACT).exists() else ""
    return files.text(root / PROGRESS) or waiting
