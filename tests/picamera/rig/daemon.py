"""Run the daemon with the rig's camera process: `daemon.py FILE [section.key=value ...]`."""

from __future__ import annotations

import sys
from pathlib import Path

from pi_cam_daemon import daemon
from pi_cam_daemon.config.last_good import ConfigFiles
from pi_cam_daemon.system.leaving import leave

if __name__ == "__main__":
    file, *settings = sys.argv[1:]
    camera = Path(__file__).with_name("camera.py")
    leave(daemon.run(ConfigFiles(Path(file), settings), camera_argv=[sys.executable, str(camera)]))
