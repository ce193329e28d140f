"""Run a program whose wall clock is wrong: `clock.py OFFSET_FILE PROGRAM...`; the file has the offset in seconds.

The rig's camera process (camera.py) follows the same file.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path


def jumping(offset_file: Path, clock: Callable[[], float]) -> Callable[[], float]:
    def now() -> float:
        return clock() + float(offset_file.read_text())

    return now


OFFSET_FILE = "CLOCK_OFFSET_FILE"  # the environment variable for the camera process

if __name__ == "__main__":
    os.environ[OFFSET_FILE] = sys.argv[1]
    time.time = jumping(Path(sys.argv[1]), time.time)
    sys.argv = sys.argv[2:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
