"""Run a program of the daemon with a bug in one of its threads: `buggy.py THREAD PROGRAM...`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from pi_cam_daemon.core.no_signal import Cards
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.mqtt.device import Device
from pi_cam_daemon.server.listener import CameraServer
from pi_cam_daemon.server.report import Observer
from pi_cam_daemon.server.streams import Streams

# what runs in each thread
METHODS = {
    "request": (Observer, "table"),
    "card": (Cards, "_draw"),
    "accept": (CameraServer, "_admit"),
    "streams": (Streams, "_welcome"),
    "supervisor": (Supervisor, "_run"),
    "mqtt": (Device, "work"),
}


def fail(*_: object) -> None:
    raise RuntimeError("a bug of the test's own")


if __name__ == "__main__":
    setattr(*METHODS[sys.argv[1]], fail)
    sys.argv = sys.argv[2:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
