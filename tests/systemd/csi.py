"""A CSI camera for a host: a picamera2 that finds one, among the packages of the host's Python."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.systemd.hosts import Host

PACKAGES = "usr/lib/python3/dist-packages"
STACK = Path(__file__).with_name("camera_stack")
NAMES = ("picamera2", "libcamera.py")
# a numpy of another version than the one that apt's simplejpeg was built against
BROKEN = 'raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")\n'


def put(folder: Path) -> None:
    """Put a picamera2 that finds a camera into *folder*."""
    shutil.copytree(STACK, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def connect(host: Host) -> None:
    """Give *host* a picamera2 that finds a camera, in place of any other."""
    disconnect(host)
    (host.disk / PACKAGES).mkdir(parents=True, exist_ok=True)
    put(host.disk / PACKAGES)


def disconnect(host: Host) -> None:
    """Leave *host* without picamera2, as Debian comes."""
    for name in NAMES:
        host.remove(f"{PACKAGES}/{name}")


def damage(host: Host) -> None:
    """Let the picamera2 of *host* fail at its import, as after an upgrade of numpy."""
    host.write(f"{PACKAGES}/picamera2/__init__.py", BROKEN)
