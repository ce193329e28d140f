"""A CSI camera for a host: the unit tier's picamera2 among the packages of the host's Python."""

from __future__ import annotations

import shutil

import cv2
import numpy as np

from tests.harness import ROOT
from tests.systemd.hosts import Host

PACKAGES = "usr/lib/python3/dist-packages"
NAMES = ("picamera2", "libcamera.py")
# a numpy of another version than the one that apt's simplejpeg was built against
BROKEN = 'raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")\n'


def connect(host: Host) -> None:
    """Give *host* a picamera2 that finds a camera, in place of any other."""
    disconnect(host)
    for name in NAMES:
        source, target = ROOT / "tests/unit/fake_picamera2" / name, host.disk / PACKAGES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    picture = cv2.imencode(".jpg", np.full((240, 320, 3), 127, np.uint8))[1].tobytes()
    with (host.disk / PACKAGES / "picamera2/__init__.py").open("a") as file:
        file.write(f"\nmachine.picture = {picture!r}\n")


def disconnect(host: Host) -> None:
    """Leave *host* without picamera2, as Debian comes."""
    for name in NAMES:
        host.remove(f"{PACKAGES}/{name}")


def damage(host: Host) -> None:
    """Let the picamera2 of *host* fail at its import, as after an upgrade of numpy."""
    host.write(f"{PACKAGES}/picamera2/__init__.py", BROKEN)
