"""Command line and options of the package's other processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def command(module: str) -> tuple[str, ...]:
    """Return the command that runs *module* of this package. -P keeps a cv2.py in the working directory out."""
    return (sys.executable, "-P", "-m", f"pi_cam_daemon.{module}")


def options() -> dict[str, Any]:
    """Return the options that all calls of Popen share."""
    environment = os.environ.copy()
    package = Path(__file__).parents[2]
    if package == Path.cwd():  # run from a checkout, not installed
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (environment.get("PYTHONPATH"), str(package))))
    if _has_neon(os.uname().machine, sys.maxsize):
        # libjpeg-turbo looks for NEON in /proc/cpuinfo, which the unit's ProcSubset=pid hides
        environment.setdefault("JSIMD_FORCENEON", "1")
    # a process group of its own: Ctrl-C at the terminal is for the server, which stops its children in order
    return {"env": environment, "process_group": 0}


def _has_neon(machine: str, maxsize: int) -> bool:
    """Return True for 32-bit programs on a Pi 2 or later, all of which have NEON. 64-bit ones need no detection."""
    return maxsize < 2**32 and machine in ("armv7l", "armv8l", "aarch64")
