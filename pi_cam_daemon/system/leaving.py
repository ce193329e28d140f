"""Leaving: the end of a process whose threads still run."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End this process at once, with the exit status *status*, after its output is written.

    Python would take itself apart first. Threads that still answer clients may crash it then, and those of a
    camera stack may hang.
    """
    with contextlib.suppress(OSError):  # nobody reads it any more
        sys.stdout.flush()
    logging.shutdown()
    os._exit(status)
