"""The command `list-cameras`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pi_cam_daemon.camera import csi, usb_cameras
from pi_cam_daemon.commands.output import OK, complain, sentence
from pi_cam_daemon.config import loading
from pi_cam_daemon.config.schema import CameraConfig
from pi_cam_daemon.errors import ConfigError, SourceError

_Camera = TypeVar("_Camera")


def run(options: argparse.Namespace) -> int:
    """Print the cameras that can be used, and return the exit status."""
    try:
        config = loading.load(options.config, options.settings).camera
    except ConfigError as error:  # the list may help to correct it
        for problem in error.problems:
            complain(problem)
        config = loading.load(loading.DEFAULTS).camera
    print(camera_list(_found(csi.cameras), _found(usb_cameras.cameras), config))
    return OK


def _found(look: Callable[[], list[_Camera]]) -> list[_Camera] | SourceError:
    try:
        return look()
    except SourceError as error:
        return error


def camera_list(
    csi: Sequence[csi.Camera] | SourceError, usb: Sequence[usb_cameras.Camera] | SourceError, config: CameraConfig
) -> str:
    """Return a line for each camera, or the reason why there is none, and a line for the test picture.

    The camera that *config* uses is marked. A line says how to choose another one where *config* chooses none.
    """
    no_csi, no_usb = "picamera2 finds none; check the ribbon cable", "none is plugged in"
    if isinstance(csi, SourceError):
        no_csi, csi = sentence(csi), []
    if isinstance(usb, SourceError):
        no_usb, usb = sentence(usb), []
    kind = config.kind
    if kind == "auto":
        kind = "csi" if csi else "usb" if usb else "pattern"
    wanted, device = config.csi.camera, config.usb.device
    lines = []
    for number, camera in enumerate(csi):
        chosen = wanted in (str(camera.index), camera.id) or (not wanted and number == 0)
        lines.append(f"csi      {camera.index}  {camera.name}  {camera.id}{_mark(chosen and kind == 'csi')}")
    lines += _choice("CSI", "csi.camera", wanted, len(csi)) if csi else [f"no CSI camera: {no_csi}"]
    for number, webcam in enumerate(usb):
        chosen = Path(device).resolve() == webcam.node.resolve() if device else number == 0
        lines.append(f"usb      {webcam.path}  {webcam.name}{_mark(chosen and kind == 'usb')}")
    lines += _choice("USB", "usb.device", device, len(usb)) if usb else [f"no USB camera: {no_usb}"]
    return "\n".join([*lines, f"pattern  a moving test picture, always available{_mark(kind == 'pattern')}"])


def _mark(is_used: bool) -> str:
    return "  (used)" if is_used else ""


def _choice(what: str, setting: str, wanted: str, count: int) -> list[str]:
    if wanted or count < 2:
        return []
    return [f"         {count} {what} cameras and no {setting}: the first is used; set {setting} to choose another"]
