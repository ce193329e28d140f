"""How the package's other processes are started: the camera's, and the one that draws cards."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def command(module: str) -> tuple[str, ...]:
    """The command that runs *module* of this package.

    -P: where the caller happens to stand there may be a cv2.py of a beginner's own, and `-m` alone would import it.
    """
    return (sys.executable, "-P", "-m", f"pi_cam_daemon.{module}")


def options() -> dict[str, Any]:
    """What every Popen of ours takes."""
    environment = os.environ.copy()
    package = Path(__file__).parents[2]
    if package == Path.cwd():  # run from a checkout, not installed
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (environment.get("PYTHONPATH"), str(package))))
    # A group of its own: Ctrl-C at the terminal is for the server, which stops its children in order.
    return {"env": environment, "process_group": 0}
