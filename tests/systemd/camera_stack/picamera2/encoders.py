from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np


class Request(NamedTuple):
    """A frame of *size*, taken at *taken_us* of CLOCK_MONOTONIC."""

    size: tuple[int, int]
    taken_us: int


class MJPEGEncoder:
    """Only its name is used: the machine is a Pi 5."""


class JpegEncoder:
    output: Any

    def __init__(self, q: int) -> None:
        self._quality = q
        self.firsttimestamp: int | None = None

    def encode(self, stream: str, request: Request) -> None:
        assert stream == "main"
        width, height = request.size
        jpeg = cv2.imencode(
            ".jpg", np.full((height, width, 3), 127, np.uint8), (cv2.IMWRITE_JPEG_QUALITY, self._quality)
        )
        self.firsttimestamp = self.firsttimestamp or request.taken_us
        self.output.outputframe(jpeg[1].tobytes(), True, request.taken_us - self.firsttimestamp, None, False)
