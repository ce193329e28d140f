"""Makes small grey upright pictures, to look for motion: of JPEGs, of pixels, and of a plane of brightness."""

from __future__ import annotations

import ctypes
import logging
import weakref
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import exif, jpeg
from pi_cam_daemon.imaging.orientation import Orientation

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]

_LONGEST = 160
_EIGHTHS = 8
_GREY = 6  # TJPF_GRAY
_LIMIT_SCANS = 1 << 15
_WARNING = 0
_UPRIGHT = Orientation(0, False, False)


def of_pixels(pixels: Pixels, orientation: Orientation) -> Pixels:
    """Return *pixels* small, grey and turned by *orientation*.

    They are height x width x 3 as a source has them (BGR), or height x width if they are masked already.
    """
    grey = cv2.cvtColor(orientation.masked(pixels), cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
    return orientation.array(_small(grey))  # type: ignore[arg-type]


def _small(grey: Pixels) -> Pixels:
    height, width = grey.shape
    scale = _LONGEST / max(width, height)
    if scale >= 1:
        return grey
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


class OfJpeg:
    """Decodes the brightness of JPEGs at a fraction of their size. Not thread-safe."""

    def __call__(self, picture: bytes) -> Pixels:
        """Return *picture*, a whole JPEG, small, grey and upright. Raises JpegError if it cannot be decoded."""
        width, height, _, metadata, *_ = jpeg.parse(picture)
        part = min(_EIGHTHS, -(-_LONGEST * _EIGHTHS // max(width, height)))
        decoder = self._decoder
        grey = decoder(picture, -(-width * part // _EIGHTHS), -(-height * part // _EIGHTHS)) if decoder else None
        if grey is None:
            grey = _decoded(picture, part)
        marked = [picture[start:end] for start, end in metadata if picture.startswith(b"Exif\0", start + 4)]
        return (_UPRIGHT.after(exif.orientation(marked[0])) if marked else _UPRIGHT).array(_small(grey))

    @cached_property
    def _decoder(self) -> _Decoder | None:
        try:
            return _Decoder()
        except OSError as error:
            log.warning("To watch for motion takes more processor time: %s. Run sudo apt install libturbojpeg0", error)
            return None


def _decoded(picture: bytes, part: int) -> Pixels:
    """Return the JPEG *picture* in grey at about *part* eighths of its size, by OpenCV."""
    reduced = {1: cv2.IMREAD_REDUCED_GRAYSCALE_8, 2: cv2.IMREAD_REDUCED_GRAYSCALE_4, 4: cv2.IMREAD_REDUCED_GRAYSCALE_2}
    flag = next((flag for most, flag in reduced.items() if part <= most), cv2.IMREAD_GRAYSCALE)
    try:
        grey = cv2.imdecode(np.frombuffer(picture, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise JpegError(f"OpenCV cannot decode it: {error.err}") from error
    if grey is None:
        raise JpegError("OpenCV cannot decode it")
    return grey  # type: ignore[return-value]


class _Decoder:
    """libjpeg-turbo's decoder for brightness alone. OSError without the library."""

    def __init__(self) -> None:
        library = ctypes.CDLL("libturbojpeg.so.0")
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self._decode = library.tjDecompress2
        self._decode.argtypes = pointer, ctypes.c_char_p, ctypes.c_ulong, pointer, *(number,) * 5
        self._error_code, library.tjInitDecompress.restype = library.tjGetErrorCode, pointer
        self._error_code.argtypes = library.tjDestroy.argtypes = (pointer,)
        self._handle = library.tjInitDecompress()
        if not self._handle:
            raise OSError("libturbojpeg has no memory")
        weakref.finalize(self, library.tjDestroy, self._handle)

    def __call__(self, picture: bytes, width: int, height: int) -> Pixels | None:
        """Return *picture* at this size, which is a number of eighths of its own; None if that fails."""
        grey: Pixels = np.empty((height, width), np.uint8)
        memory = grey.ctypes.data
        failed = self._decode(self._handle, picture, len(picture), memory, width, width, height, _GREY, _LIMIT_SCANS)
        # a warning is about a flaw that any decoder shows
        return None if failed and self._error_code(self._handle) != _WARNING else grey
