"""`python -m pi_cam_daemon` is `pi-cam-daemon`."""

import sys

from pi_cam_daemon.cli import main

sys.exit(main())
