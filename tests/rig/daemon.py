"""Run the daemon with the rig's camera process: `daemon.py FAULT_FILE [--unkillable] CONFIG [SETTING...]`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pi_cam_daemon import daemon
from pi_cam_daemon.config.last_good import ConfigFiles
from pi_cam_daemon.system.leaving import leave

CAMERA = Path(__file__).with_name("camera.py")


class Unkillable(subprocess.Popen[bytes]):
    """A process in uninterruptible sleep: signals have no effect."""

    def send_signal(self, sig: int) -> None:
        """Do nothing."""


if __name__ == "__main__":
    fault_file, *rest = sys.argv[1:]
    popen: type[subprocess.Popen[bytes]] = subprocess.Popen
    if rest[0] == "--unkillable":
        popen = Unkillable
        rest = rest[1:]
    file, *settings = rest
    leave(daemon.run(ConfigFiles(Path(file), settings), [sys.executable, str(CAMERA), fault_file], popen))
