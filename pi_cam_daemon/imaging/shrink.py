"""Makes small JPEGs: of a whole JPEG, which is decoded at a fraction of its size, or of pixels."""

from __future__ import annotations

import ctypes
import logging
import weakref
from functools import cached_property
from typing import TYPE_CHECKING

from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import exif, jpeg
from pi_cam_daemon.imaging.orientation import Orientation

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)

# libjpeg-turbo decodes at 1/8 to 8/8 of the size
_EIGHTHS = 8
_MOST = 4  # a small picture has at most half of each side
_LIMIT_SCANS = 1 << 15
_GREY = 3  # TJSAMP_GRAY: one plane
_YUV = (1, 2)  # TJCS_YCbCr, TJCS_GRAY
_WARNING = 0
_Planes = ctypes.c_void_p * 3
_Strides = ctypes.c_int * 3


def eighths(width: int, height: int, longest: int) -> int:
    """Return the largest number of eighths, 1 to 4, at which no side of a picture is longer than *longest* pixels.

    It is 1 if all are too long.
    """
    return max(1, min(_MOST, longest * _EIGHTHS // max(width, height)))


def size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Return at most half the size, in even numbers, at which no side of a picture is longer than *longest*."""
    scale = min(_MOST / _EIGHTHS, longest / max(width, height))
    return max(2, round(width * scale) & ~1), max(2, round(height * scale) & ~1)


class Shrink:
    """Makes JPEGs whose sides are at most *longest* pixels, with *quality* (1 to 100). Not thread-safe."""

    def __init__(self, longest: int, quality: int) -> None:
        self._longest = longest
        self._quality = quality

    def of_jpeg(self, picture: bytes) -> bytes:
        """Return *picture*, a whole upright JPEG, smaller, with the same mark for viewers to turn it if it has one.

        Raises JpegError if it cannot be decoded.
        """
        width, height, _, metadata, *_ = jpeg.parse(picture)
        small = None
        if scaled := self._scaled:
            try:
                small = scaled(picture, eighths(width, height, self._longest))
            finally:
                if small is None:
                    del self._scaled  # after some broken headers libjpeg-turbo refuses every picture
        small = small or self._reduced(picture, width, height)
        marked = [picture[start:end] for start, end in metadata if picture.startswith(b"Exif\0", start + 4)]
        return small[:2] + exif.segment(exif.orientation(marked[0])) + small[2:] if marked else small

    def of_pixels(self, bgr: npt.NDArray[np.uint8], orientation: Orientation) -> bytes:
        """Return the pixels *bgr* (height x width x 3) as a small upright JPEG. *orientation* encodes it."""
        import cv2

        height, width = bgr.shape[:2]
        wanted = size(width, height, self._longest)
        bgr = orientation.masked(bgr)  # a small pixel may have a part of a big one that is masked
        pixels = cv2.resize(bgr, wanted, interpolation=cv2.INTER_AREA) if wanted != (width, height) else bgr
        return orientation.encode(pixels)  # type: ignore[arg-type]

    def _reduced(self, picture: bytes, width: int, height: int) -> bytes:
        """Return the JPEG *picture* smaller, by OpenCV."""
        import cv2
        import numpy as np

        reduced = {1: cv2.IMREAD_REDUCED_COLOR_8, 2: cv2.IMREAD_REDUCED_COLOR_4, 4: cv2.IMREAD_REDUCED_COLOR_2}
        part = eighths(width, height, self._longest)
        flag = next((flag for most, flag in reduced.items() if part <= most), cv2.IMREAD_COLOR)
        try:
            pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error as error:
            raise JpegError(f"OpenCV cannot decode it: {error.err}") from error
        if pixels is None:
            raise JpegError("OpenCV cannot decode it")
        wanted = tuple(-(-side * part // _EIGHTHS) for side in (width, height))  # what libjpeg-turbo gives
        if pixels.shape[1::-1] != wanted:
            pixels = cv2.resize(pixels, wanted, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, self._quality))[1].tobytes()

    @cached_property
    def _scaled(self) -> _Scaled | None:
        try:
            return _Scaled(self._quality)
        except OSError as error:
            log.warning(
                "Small pictures are made by OpenCV, which takes twice the processor time: %s. To change that, run "
                "sudo apt install libturbojpeg0",
                error,
            )
            return None


class _Scaled:
    """Decodes JPEGs at a fraction of their size with libjpeg-turbo, and encodes that. OSError without the library.

    The colours stay as they are in the JPEG (YUV), at its resolution of colours.
    """

    def __init__(self, quality: int) -> None:
        library = ctypes.CDLL("libturbojpeg.so.0")
        pointer, number, length = ctypes.c_void_p, ctypes.c_int, ctypes.c_ulong
        self._header, self._decode = library.tjDecompressHeader3, library.tjDecompressToYUVPlanes
        self._encode, self._free = library.tjCompressFromYUVPlanes, library.tjFree
        self._plane_width, self._plane_height = library.tjPlaneWidth, library.tjPlaneHeight
        planes, strides = ctypes.POINTER(pointer), ctypes.POINTER(number)
        source = pointer, ctypes.c_char_p, length
        self._header.argtypes = (*source, *(ctypes.POINTER(number),) * 4)
        self._decode.argtypes = (*source, planes, number, strides, number, number)
        result = planes, ctypes.POINTER(length)
        self._encode.argtypes = (pointer, planes, number, strides, number, number, *result, number, number)
        self._free.argtypes = library.tjDestroy.argtypes = library.tjGetErrorCode.argtypes = (pointer,)
        self._free.restype = None
        self._error_code, self._error_text = library.tjGetErrorCode, library.tjGetErrorStr2
        self._error_text.argtypes, self._error_text.restype = (pointer,), ctypes.c_char_p
        library.tjInitDecompress.restype = library.tjInitCompress.restype = pointer
        self._decoder, self._encoder = library.tjInitDecompress(), library.tjInitCompress()
        if not self._decoder or not self._encoder:
            raise OSError("libturbojpeg has no memory")
        weakref.finalize(self, library.tjDestroy, self._decoder)
        weakref.finalize(self, library.tjDestroy, self._encoder)
        self._quality = quality
        self._memory = bytearray()

    def __call__(self, picture: bytes, part: int) -> bytes | None:
        """Return the JPEG *picture* at *part* eighths of its size; None if it has other colours than these.

        Raises JpegError if it cannot be decoded.
        """
        numbers = [ctypes.c_int() for _ in range(4)]
        failed = self._header(self._decoder, picture, len(picture), *numbers)
        width, height, sampling, colours = (number.value for number in numbers)
        if failed or sampling < 0 or colours not in _YUV:
            return None
        width, height = -(-width * part // _EIGHTHS), -(-height * part // _EIGHTHS)
        count = 1 if sampling == _GREY else 3
        widths = [self._plane_width(plane, width, sampling) for plane in range(count)]
        lengths = [widths[plane] * self._plane_height(plane, height, sampling) for plane in range(count)]
        if len(self._memory) < sum(lengths):
            self._memory = bytearray(sum(lengths))
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        planes = _Planes(*(start + sum(lengths[:plane]) for plane in range(count)))
        strides = _Strides(*widths)
        size = len(picture)
        failed = self._decode(self._decoder, picture, size, planes, width, strides, height, _LIMIT_SCANS)
        self._check(failed, self._decoder)
        buffer, length = ctypes.c_void_p(), ctypes.c_ulong()
        try:
            failed = self._encode(
                self._encoder, planes, width, strides, height, sampling, buffer, length, self._quality, 0
            )
            self._check(failed, self._encoder)
            return ctypes.string_at(buffer, length.value)
        finally:
            self._free(buffer)

    def _check(self, failed: int, handle: int) -> None:
        """Raise JpegError if libjpeg-turbo failed. A warning is about a flaw that any decoder shows."""
        if failed and self._error_code(handle) != _WARNING:
            raise JpegError(f"it cannot be decoded: {self._error_text(handle).decode('ascii', 'replace')}")
