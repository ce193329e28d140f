"""Local socket: the camera for programs of the service's own user, such as the recorder, without a password."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from pathlib import Path

log = logging.getLogger(__name__)

_MOST_WAITING = 8
_MODE = 0o600


def listen(path: Path) -> socket.socket | None:
    """Return a Unix socket that listens at *path*, for its owner and root only. Log why, and return None, if it cannot.

    It takes the place of one that an earlier process left there.
    """
    listening = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        os.fchmod(listening.fileno(), _MODE)  # before anybody can see it
        listening.bind(str(path))
        listening.listen(_MOST_WAITING)
    except OSError as error:  # such as a path of more than 107 bytes
        log.warning("%s: %s; nothing can be recorded", path, error.strerror or error)
        listening.close()
        return None
    return listening


def remove(path: Path) -> None:
    """Remove the socket at *path*, so that nobody waits for it."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
