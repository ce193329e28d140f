"""Make the wall clock of every Python program wrong that has this folder in PYTHONPATH, and of its children.

The file $CLOCK_OFFSET_FILE has the offset in seconds. Only time.time is wrong: the kernel's clock does not jump, and so
neither datetime.now, nor file times, nor a driver's timestamps, nor systemd. tests/image/test_cameras.py has those.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def jumping(offset_file: Path, clock: Callable[[], float]) -> Callable[[], float]:
    def now() -> float:
        return clock() + float(offset_file.read_text())

    return now


time.time = jumping(Path(os.environ["CLOCK_OFFSET_FILE"]), time.time)
