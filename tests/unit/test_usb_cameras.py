import errno
import os
from pathlib import Path

import pytest

from pi_cam_daemon.camera import usb_cameras
from pi_cam_daemon.errors import Cause

PATH = Path("/dev/v4l/by-id/usb-046d_C270-video-index0")


@pytest.mark.parametrize(
    ("number", "cause", "values"),
    [
        (errno.EACCES, Cause.PERMISSION, {"group": "video"}),
        (errno.EBUSY, Cause.BUSY, {"command": f"sudo fuser {PATH}"}),
        (errno.ENOENT, Cause.MISSING, {"command": "pi-cam-daemon list-cameras"}),
        (errno.ENODEV, Cause.LOST, {}),
        (errno.ENOTTY, Cause.SETTINGS, {"setting": "usb.device", "command": "pi-cam-daemon list-cameras"}),
        (errno.ENOSPC, Cause.SETTINGS, {"setting": "video.width, video.height, video.framerate"}),
        (errno.EPROTO, Cause.LOST, {"error": "EPROTO"}),
    ],
)
def test_an_error_of_the_kernel_is_explained_with_its_values(number: int, cause: Cause, values: dict[str, str]) -> None:
    error = usb_cameras.explain(OSError(number, os.strerror(number)), PATH)
    assert (error.cause, error.values) == (cause, {"device": str(PATH), **values})
    assert str(PATH) in error.message
    assert values.get("command", "") in error.hint
