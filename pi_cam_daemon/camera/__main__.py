"""Run the camera process: `python -m pi_cam_daemon.camera SOCKET MEMORY LOG_LEVEL`."""

from __future__ import annotations

import sys

from pi_cam_daemon.camera.process import main
from pi_cam_daemon.system.leaving import leave

leave(main(sys.argv[1:]))
