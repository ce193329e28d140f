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
    # a process group of its own: Ctrl-C at the terminal is for the server, which stops its children in order
    return {"env": environment, "process_group": 0}
