"""Formats of raw pictures that cameras give under V4L2, and their conversion with OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pi_cam_daemon.errors import JpegError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# bytes per pixel, and OpenCV's conversion to BGR
_PACKED = {
    "YUYV": (2, "COLOR_YUV2BGR_YUY2"),
    "UYVY": (2, "COLOR_YUV2BGR_UYVY"),
    "YVYU": (2, "COLOR_YUV2BGR_YVYU"),
    "RGB3": (3, "COLOR_RGB2BGR"),
    "BGR3": (3, ""),
    "GREY": (1, "COLOR_GRAY2BGR"),
}
# a plane of luminance, and behind it the colours of each 2x2 pixels, in one plane ("NV") or in two
_PLANAR = {
    "NV12": "COLOR_YUV2BGR_NV12",
    "NV21": "COLOR_YUV2BGR_NV21",
    "YU12": "COLOR_YUV2BGR_I420",
    "YV12": "COLOR_YUV2BGR_YV12",
}
# The four-character codes of the kernel, the best ones first. The bus carries fewer bytes of those with 2x2 colours,
# but cameras that have them usually convert them themselves from one of the first.
FORMATS = ("YUYV", "UYVY", "YVYU", *_PLANAR, "RGB3", "BGR3", "GREY")


def to_bgr(pixel_format: str, width: int, height: int, row_bytes: int) -> Callable[[bytes], npt.NDArray[np.uint8]]:
    """Return a function that converts a picture of this format and size to pixels (height x width x 3).

    *row_bytes* is the distance of two rows, of luminance if the format has planes; 0 if the driver does not say. Where
    neighbours share their colour, the last column of an odd width and the last row of an odd height are left out. The
    function raises JpegError for data that is too short.
    """
    # imported only for raw pictures: they take 30 MB and, on a Zero 2 W, a second
    import cv2
    import numpy as np

    def rows(data: bytes, at: int, count: int, distance: int, used: int) -> npt.NDArray[np.uint8]:
        """Return the *used* bytes of *count* rows as an array; the last row may lack its padding."""
        needed = at + (count - 1) * distance + used
        if len(data) < needed:
            raise JpegError(f"it has {len(data)} bytes, not {needed}")
        whole = data[at : at + count * distance].ljust(count * distance, b"\0")
        return np.frombuffer(whole, np.uint8).reshape(count, distance)[:, :used]

    def converted(pixels: npt.NDArray[np.uint8], code: str) -> npt.NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, code)), np.uint8)

    if pixel_format in _PACKED:
        depth, code = _PACKED[pixel_format]
        distance = max(row_bytes, width * depth)
        columns = width - width % 2 if depth == 2 else width

        def packed(data: bytes) -> npt.NDArray[np.uint8]:
            pixels = rows(data, 0, height, distance, columns * depth).reshape(height, columns, depth)
            return converted(pixels, code) if code else pixels

        return packed

    distance = max(row_bytes, width)
    columns, lines = width - width % 2, height - height % 2
    is_split = not pixel_format.startswith("NV")
    colour_distance, colour_columns = ((distance + 1) // 2, columns // 2) if is_split else (distance, columns)
    colour_lines = (height + 1) // 2
    first = height * distance

    def planar(data: bytes) -> npt.NDArray[np.uint8]:
        planes = [rows(data, 0, lines, distance, columns).ravel()]
        for number in range(1 + is_split):
            at = first + number * colour_lines * colour_distance
            planes.append(rows(data, at, lines // 2, colour_distance, colour_columns).ravel())
        return converted(np.concatenate(planes).reshape(-1, columns), _PLANAR[pixel_format])

    return planar
