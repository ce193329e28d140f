"""Run a program whose wall clock is wrong: `clock.py OFFSET_FILE PROGRAM...`; the file has the offset in seconds."""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path


def jumping(offset_file: Path, clock: Callable[[], float]) -> Callable[[], float]:
    def now() -> float:
        return clock() + float(offset_file.read_text())

    return now


if __name__ == "__main__":
    time.time = jumping(Path(sys.argv[1]), time.time)
    sys.argv = sys.argv[2:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
