"""Facts about the machine that the daemon does not report: memory, CMA, sensor modes."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from pi_cam_daemon.commands import support
from pi_cam_daemon.system import machine

_MODES_SECONDS = 60.0
_SAMPLE_SECONDS = 0.05
# It runs in a process of its own: this one must not hold the camera. picamera2 configures each mode to learn its rate;
# the allocator that allocates nothing saves up to 200 MB of CMA memory, which a Zero 2 W does not have.
_MODES = """
import os
os.environ["LIBCAMERA_LOG_LEVELS"] = "*:ERROR"
import numpy
from picamera2 import Picamera2
from picamera2.allocators.allocator import Allocator
print("numpy", numpy.__version__, "of the system" if numpy.__file__.startswith("/usr/lib/") else "not of the system")
for number in range(len(Picamera2.global_camera_info())):
    with Picamera2(number, allocator=Allocator()) as camera:
        print(number, camera.camera_properties.get("Model"), camera.sensor_resolution)
        for mode in camera.sensor_modes:
            print("   ", mode)
"""


def memory() -> str:
    """Return the processors, and the lines of /proc/meminfo on memory, swap and CMA."""
    wanted = re.compile(r"(MemTotal|MemAvailable|SwapTotal|CmaTotal|CmaFree):")
    lines = [line for line in Path("/proc/meminfo").read_text().splitlines() if wanted.match(line)]
    return "\n".join([f"processors: {os.cpu_count()}", *lines])


def cma(key: str = "CmaFree") -> float | None:
    """Return the free CMA memory, or with "CmaTotal" all of it, in MB (10^6 bytes); None without CMA."""
    found = re.search(rf"^{key}:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


class LowestCma:
    """Remembers the lowest free CMA memory, in MB, while it is watched."""

    def __init__(self) -> None:
        self.megabytes = cma() or 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at it twenty times a second, as long as the block lasts."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_SAMPLE_SECONDS):
                self.megabytes = min(self.megabytes, cma() or 0.0)

        thread = threading.Thread(target=watch, name="CMA", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def sensor_modes() -> str:
    """Return picamera2's cameras with their sensor modes, as text. No other process may use the camera meanwhile."""
    return support.output_of(sys.executable, "-P", "-c", _MODES, seconds=_MODES_SECONDS)


def expected_encoder(kind: str) -> str:
    """Return the encoder that this board should use for a camera of *kind*; "" if it is no CSI camera on a Pi."""
    model = machine.model()
    if kind != "csi" or "Raspberry Pi" not in model:
        return ""
    without = re.search(r"Raspberry Pi (5|Compute Module 5)", model)
    return "software JPEG (simplejpeg)" if without else "hardware MJPEG (V4L2)"
