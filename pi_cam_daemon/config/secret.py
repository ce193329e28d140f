"""Files that hold one secret, such as a key: the configuration has the path, and so no secret in it."""

from __future__ import annotations

import logging
from pathlib import Path

from pi_cam_daemon.errors import CredentialsError
from pi_cam_daemon.system import files

log = logging.getLogger(__name__)

_MOST_BYTES = 65536


def read(key: str, path: Path) -> bytes:
    """Return the secret in the file at *path*, which the setting *key* names, without white space around it.

    Raises CredentialsError. What is in the file is in no error and in no log.
    """
    try:
        mode = path.stat().st_mode
        secret = files.read(path, _MOST_BYTES, "secret").strip()
    except OSError as error:
        raise CredentialsError([f"{key}: {path}: {files.explain(error, path)}"]) from None
    except ValueError as error:
        raise CredentialsError([f"{key}: {path}: {error}"]) from None
    if not secret:
        raise CredentialsError([f"{key}: {path}: the file is empty; it has to hold the secret"])
    if mode & 0o007:
        log.warning("%s can be read by everybody on this machine; chmod 640 %s", path, path)
    return secret
