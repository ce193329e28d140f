"""Asking: one request to the daemon, through its local socket."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from pi_cam_daemon.recording.feed import FeedError

_LONGEST_REASON = 300


class _Connection(http.client.HTTPConnection):
    """A connection to the Unix socket at *path*."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class RefusedError(FeedError):
    """The daemon answers, and has no picture. The text is its reason."""


def ask(path: Path, target: str, seconds: float) -> tuple[bytes, str]:
    """Return the picture that the daemon at *path* has for *target*, and its X-Timestamp, "" for none.

    Raises FeedError if there is no answer within *seconds*, and RefusedError.
    """
    connection = _Connection(path, seconds)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise FeedError(f"The daemon does not answer: {getattr(error, 'strerror', '') or error}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise RefusedError(body[:_LONGEST_REASON].decode("utf-8", "replace").strip() or f"{answer.status}")
    return body, answer.getheader("X-Timestamp", "")
