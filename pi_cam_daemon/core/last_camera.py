"""The camera that gave pictures last, remembered over restarts: so a camera that is gone after a boot is missed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pi_cam_daemon.config import kinds
from pi_cam_daemon.core.health import CameraStatus, State
from pi_cam_daemon.system import files

log = logging.getLogger(__name__)


class LastCamera:
    """*kind* and *name* of the camera that gave pictures last, "" if there was none, kept in the file *path*."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kind = self.name = ""
        try:
            table = json.loads(files.text(path) or "{}")
            self.kind, self.name = str(table.get("kind", "")), str(table.get("name", ""))
        except (ValueError, AttributeError) as error:
            log.warning("%s is ignored: %s", path, error)

    @property
    def real(self) -> bool:
        """Return whether it was a camera at this machine."""
        return bool(self.kind) and kinds.of(self.kind).has_driver

    def remember(self, status: CameraStatus) -> None:
        """Remember the camera of *status* if it gives pictures. Writes the file only when that is another camera."""
        info = status.info
        if info is None or status.state is not State.STREAMING or (info.kind, info.name) == (self.kind, self.name):
            return
        self.kind, self.name = info.kind, info.name
        try:
            files.replace(self._path, json.dumps({"kind": self.kind, "name": self.name}).encode())
        except OSError as error:
            log.warning("%s: %s; after a restart a missing camera is not noticed", self._path, error.strerror)
