from __future__ import annotations

from typing import Any

import cv2
import numpy as np


class _Encoder:
    firsttimestamp: int | None = None


class MJPEGEncoder(_Encoder):
    def __init__(self, bitrate: int) -> None:
        self.bitrate = bitrate


class JpegEncoder(_Encoder):
    def __init__(self, q: int) -> None:
        self.q = q

    def encode_func(self, request: Any, name: str) -> bytes:
        assert name == "main"
        width, height = request.size
        return cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
