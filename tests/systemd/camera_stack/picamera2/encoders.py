from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import cv2
import numpy as np


class Request(NamedTuple):
    """A frame of *size*, taken at *taken_us* of CLOCK_MONOTONIC."""

    size: tuple[int, int]
    taken_us: int


class MJPEGEncoder:
    """Only its name is used: the machine is a Pi 5."""


class Encoder(ABC):
    output: Any = None
    size = (0, 0)
    firsttimestamp: int | None = None

    def encode(self, stream: str, request: Request) -> None:
        self._encode(stream, request)

    @abstractmethod
    def _encode(self, stream: str, request: Request) -> None: ...

    def _timestamp(self, request: Request) -> int:
        self.firsttimestamp = self.firsttimestamp or request.taken_us
        return request.taken_us - self.firsttimestamp


class JpegEncoder(Encoder):
    def __init__(self, q: int) -> None:
        self._quality = q

    def _encode(self, _stream: str, request: Request) -> None:
        width, height = request.size
        jpeg = cv2.imencode(
            ".jpg", np.full((height, width, 3), 127, np.uint8), (cv2.IMWRITE_JPEG_QUALITY, self._quality)
        )
        self.output.outputframe(jpeg[1].tobytes(), True, self._timestamp(request), None, False)
