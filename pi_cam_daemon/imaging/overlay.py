"""Draws a line of text, such as the time, into the upper left corner of every picture: light letters in a dark box."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import cv2
import numpy as np

from pi_cam_daemon.imaging.lettering import Letters, Pixels
from pi_cam_daemon.imaging.local_time import local_time

_CAPITAL = 21  # height of a capital at scale 1, in pixels
_SHARE = 1 / 30  # height of a capital, relative to the picture's
_SMALLEST = 8  # height of a capital that can still be read in a JPEG, in pixels
_DARK, _LIGHT = 16, 235


class Overlay:
    """Draws *template* with its fields {time}, {host} and {rate} filled in. Not thread-safe.

    The text is drawn once a second; each picture gets a copy of it.
    """

    def __init__(self, template: str) -> None:
        self._template = template
        self._second = 0
        self._frames = 0
        self._rate = ""
        self._since: float | None = None
        self._drawn: Pixels = np.empty((0, 0), np.uint8)
        self._drawn_for: tuple[int, int, int] | None = None

    def draw(self, picture: Pixels) -> None:
        """Draw into *picture*: an upright view of height x width (grey) or height x width x 3 (colour)."""
        height, width = picture.shape[:2]
        self._count()
        if self._drawn_for != (self._second, height, width):
            self._drawn_for = self._second, height, width
            self._drawn = _line(self._text(), height, width)
        corner = picture[: self._drawn.shape[0], : self._drawn.shape[1]]
        corner[:] = self._drawn if picture.ndim == 2 else self._drawn[:, :, np.newaxis]

    def _count(self) -> None:
        """Count one frame; once a second, calculate the rate."""
        self._frames += 1
        second = int(time.time())
        if second == self._second:
            return
        now = time.monotonic()
        if self._since is not None:
            self._rate = f"{self._frames / (now - self._since):.1f} fps"
        self._since, self._frames, self._second = now, 0, second

    def _text(self) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", local_time(self._second))
        host = socket.gethostname().encode("ascii", "replace").decode()
        return self._template.format(time=moment, host=host, rate=self._rate)


def _line(text: str, height: int, width: int) -> Pixels:
    """Return a box with *text*, of at most *height* x *width* pixels."""
    letters = Letters(max(height * _SHARE, _SMALLEST) / _CAPITAL, cv2.FONT_HERSHEY_SIMPLEX, 1.5)
    wide, high, below = letters.measure(text)
    if wide > width * 0.98:
        letters = replace(letters, scale=letters.scale * width * 0.98 / wide)
        wide, high, below = letters.measure(text)
    margin = max(2, high // 3)
    box: Pixels = np.full((min(high + below + 2 * margin, height), min(wide + 2 * margin, width)), _DARK, np.uint8)
    letters.draw(box, text, margin, margin + high, (_LIGHT,))
    return box
