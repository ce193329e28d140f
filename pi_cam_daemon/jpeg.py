"""What is asked of a JPEG before it travels: how large it is, and whether it is whole.

Only the header segments are walked in Python, so that a frame of any size costs microseconds. The markers are those of
ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pi_cam_daemon.errors import JpegError

Bytes = bytes | bytearray | memoryview

_SOF = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive: what browsers show
_OTHER_SOF = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_SOS = 0xDA
_EOI = re.compile(rb"\xff\xd9")

# cameras write about ten; the bound keeps a hostile header from costing seconds
_MAX_SEGMENTS = 256
# below this no real picture exists: µStreamer drops such frames of USB cameras, too
_MIN_LENGTH = 125


def size(jpeg: Bytes) -> tuple[int, int]:
    """The width and height of *jpeg* in pixels, from its header; JpegError if that cannot be read."""
    for marker, start, end in _segments(jpeg):
        if marker in _SOF:
            if end - start < 6:
                raise JpegError("its frame header is too short")
            height = jpeg[start + 1] << 8 | jpeg[start + 2]
            width = jpeg[start + 3] << 8 | jpeg[start + 4]
            if not width or not height:
                raise JpegError(f"its size is {width}x{height}")
            return width, height
        if marker in _OTHER_SOF:
            raise JpegError(f"its coding (marker FF{marker:02X}) is neither baseline nor progressive")
        if marker == _SOS:
            break
    raise JpegError("its picture data starts before its size is known")


def check(jpeg: Bytes) -> None:
    """Raise JpegError unless *jpeg* is one whole picture: sound headers, picture data, one end marker.

    Zeros after the end are let through: USB cameras pad their buffers (FFD9 00, FFD9 00 00).
    """
    if len(jpeg) < _MIN_LENGTH:
        raise JpegError(f"{len(jpeg)} bytes are too few for a picture")
    size(jpeg)
    scan = next(end for marker, _, end in _segments(jpeg) if marker == _SOS)
    # picture data never holds FFD9: a real FF is followed by 00 there
    eoi = _EOI.search(jpeg, scan)
    if eoi is None:
        raise JpegError("it is cut short: no end marker (FFD9)")
    tail = bytes(jpeg[eoi.end() :])
    if tail.count(0) != len(tail):
        raise JpegError(f"{len(tail)} bytes follow its end marker")


def _segments(jpeg: Bytes) -> Iterator[tuple[int, int, int]]:
    """Each header segment's marker and where its content starts and ends; never runs out, but raises JpegError."""
    if bytes(jpeg[:2]) != b"\xff\xd8":
        raise JpegError("it does not start with FFD8")
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(jpeg):
            raise JpegError("it ends within its headers")
        if jpeg[at] != 0xFF:
            raise JpegError(f"no marker at byte {at}")
        marker = jpeg[at + 1]
        if marker == 0xFF:  # a fill byte: any number may precede a marker
            at += 1
            continue
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9:
            raise JpegError(f"marker FF{marker:02X} at byte {at} does not belong into headers")
        length = jpeg[at + 2] << 8 | jpeg[at + 3]
        end = at + 2 + length
        if length < 2 or end > len(jpeg):
            raise JpegError(f"the segment FF{marker:02X} at byte {at} has a wrong length")
        yield marker, at + 4, end
        at = end
    raise JpegError(f"it has more than {_MAX_SEGMENTS} header segments")
