"""The command `list-cameras`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pi_cam_daemon.camera import csi, usb
from pi_cam_daemon.commands.output import OK, sentence
from pi_cam_daemon.errors import SourceError

_Camera = TypeVar("_Camera")


def run() -> int:
    """Print the cameras that can be used, and return the exit status."""
    print(camera_list(_found(csi.cameras), _found(usb.cameras)))
    return OK


def _found(look: Callable[[], list[_Camera]]) -> list[_Camera] | SourceError:
    try:
        return look()
    except SourceError as error:
        return error


def camera_list(csi: Sequence[csi.Camera] | SourceError, usb: Sequence[usb.Camera] | SourceError) -> str:
    """Return a line for each camera, or the reason why there is none, and a line for the test picture."""
    if isinstance(csi, SourceError):
        lines = [f"no CSI camera: {sentence(csi)}"]
    else:
        lines = [f"csi      {camera.index}  {camera.name}  {camera.id}" for camera in csi]
        lines = lines or ["no CSI camera: picamera2 finds none; check the ribbon cable"]
    if isinstance(usb, SourceError):
        lines.append(f"no USB camera: {sentence(usb)}")
    else:
        lines += [f"usb      {camera.path}  {camera.name}" for camera in usb] or ["no USB camera: none is plugged in"]
    return "\n".join([*lines, "pattern  a moving test picture, always available"])
