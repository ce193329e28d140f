"""Find the orientation of the test picture by the colours of its corners."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

# blue, green, red in the corners of camera/pattern.py's picture: top left and right, bottom left and right
_UPRIGHT = np.array([[(191, 191, 191), (191, 0, 0)], [(30, 26, 24), (30, 26, 24)]])
# JPEG at quality 80 moves a plain area by 3 or so; taking full range for limited would move it by 11 or more
_TOLERANCE = 8


def turned(rotation: int, hflip: bool, vflip: bool) -> npt.NDArray[np.int_]:
    """Return the corners of a picture that was mirrored first, then turned clockwise by *rotation* degrees."""
    corners = _UPRIGHT
    if hflip:
        corners = np.fliplr(corners)
    if vflip:
        corners = np.flipud(corners)
    return np.rot90(corners, -rotation // 90)


def decode(picture: bytes) -> npt.NDArray[np.uint8]:
    """Decode a PNG or JPEG to rows, columns and blue, green, red."""
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    return pixels.astype(np.uint8, copy=False)


def corners(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int_]:
    """Return the mean colours of the four corners."""
    near, far = slice(2, 10), slice(-10, -2)
    rows = [[pixels[y, x].mean((0, 1)) for x in (near, far)] for y in (near, far)]
    return np.rint(rows).astype(int)


def alike(corners: npt.NDArray[np.int_], expected: npt.NDArray[np.int_]) -> bool:
    return bool(np.abs(corners - expected).max() <= _TOLERANCE)


def is_upright(picture: bytes) -> bool:
    """Return whether this is the test picture, neither turned nor mirrored."""
    return alike(corners(decode(picture)), _UPRIGHT)
