"""Run the camera process as `python -m pi_cam_daemon.camera` does, but with the virtual camera."""

from __future__ import annotations

import logging
import os
import sys

from pi_memory import MemfdAllocator

from pi_cam_daemon.camera import process
from pi_cam_daemon.camera.choose import Choice
from pi_cam_daemon.camera.csi import CsiSource
from pi_cam_daemon.config.schema import CameraConfig


def create(config: CameraConfig) -> Choice:
    settings = config.settings("csi")
    return Choice(CsiSource(config.video, config.csi, config.small, settings, allocator=MemfdAllocator()))


if __name__ == "__main__":
    status = process.main(sys.argv[1:], create)
    logging.shutdown()
    os._exit(status)
