"""Run `pi-cam-daemon` as `python -m pi_cam_daemon`."""

import sys

from pi_cam_daemon.cli import main

sys.exit(main())
