"""Memory: what was sent, in one small file that survives a power cut."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path

from pi_cam_daemon.system import files

log = logging.getLogger(__name__)

_MOST_BYTES = 16 << 20


class Memory:
    """Names and sizes of the files that were sent to *url*. They are kept in the file at *path*.

    A file that grew since then was not sent. To another address nothing was.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._sent: dict[str, int] = {}
        try:
            table = json.loads(files.read(path, _MOST_BYTES))
            if table["url"] == url:
                self._sent = {str(name): int(size) for name, size in table["sent"].items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read, so everything is sent again: %s", path, error)

    def has(self, name: str, size: int) -> bool:
        """Return whether the file *name* was sent when it had *size* bytes."""
        return self._sent.get(name) == size

    def add(self, name: str, size: int, there: Collection[str]) -> None:
        """Keep that *name* was sent, and forget files that are not *there* any more. Raises OSError."""
        self._sent = {old: bytes for old, bytes in self._sent.items() if old in there} | {name: size}
        # the address may tell who logs in where
        files.replace(self._path, json.dumps({"url": self._url, "sent": self._sent}).encode() + b"\n", 0o600)
