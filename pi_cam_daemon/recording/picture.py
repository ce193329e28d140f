"""One picture of the camera, and the last seconds of them."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from pi_cam_daemon.imaging.local_time import local_time

# of the memory for pictures: at 1080p about three seconds
MOST_BYTES = 12 << 20


class Picture(NamedTuple):
    """A JPEG that was taken at *taken_us*, Unix time in µs, and *arrived* here then (CLOCK_MONOTONIC, in seconds)."""

    jpeg: bytes
    taken_us: int
    arrived: float

    def local(self, form: str) -> str:
        """Return the local time at which it was taken, in the *form* of strftime."""
        return time.strftime(form, local_time(self.taken_us // 1_000_000))


class PreRoll:
    """The pictures of the last *seconds*, or fewer: those that fit into MOST_BYTES."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pictures: deque[Picture] = deque()
        self._bytes = 0

    def add(self, picture: Picture) -> None:
        self._pictures.append(picture)
        self._bytes += len(picture.jpeg)
        while self._bytes > MOST_BYTES or self._pictures[0].arrived < picture.arrived - self._seconds:
            self._bytes -= len(self._pictures.popleft().jpeg)
            if not self._pictures:
                break

    def take(self, seconds: float) -> list[Picture]:
        """Return the pictures of the last *seconds*, and forget all."""
        since = self._pictures[-1].arrived - seconds if self._pictures else 0.0
        taken = [picture for picture in self._pictures if picture.arrived >= since]
        self._pictures.clear()
        self._bytes = 0
        return taken
