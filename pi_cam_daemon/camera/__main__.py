"""Run the camera process: `python -m pi_cam_daemon.camera SOCKET MEMORY LOG_LEVEL`."""

from __future__ import annotations

import logging
import os
import sys

from pi_cam_daemon.camera.process import main

exit_status = main(sys.argv[1:])
logging.shutdown()
# Not sys.exit: a camera stack's threads and exit handlers may hang, and the camera is closed already.
os._exit(exit_status)
