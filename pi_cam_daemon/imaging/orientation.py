"""Which way up a picture is, and the cheapest exact way to turn it: see docs/decisions/003-rotation.md.

OpenCV is imported where it is needed only: most cameras' pictures are turned without it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pi_cam_daemon.config.schema import VideoConfig
from pi_cam_daemon.errors import Cause, JpegError, SourceError
from pi_cam_daemon.imaging import exif
from pi_cam_daemon.imaging.turbojpeg import Lossless

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pi_cam_daemon.imaging.overlay import Overlay

log = logging.getLogger(__name__)

# flips first, then the quarter turn, as (hflip, vflip, quarter turn clockwise) →
# libjpeg-turbo's name for it (TJXOP in turbojpeg.h), and Exif's value of the tag Orientation
_TURNS = {
    (False, False, False): (0, 1),
    (True, False, False): (1, 2),
    (False, True, False): (2, 4),
    (True, True, False): (6, 3),
    (False, False, True): (5, 6),
    (True, False, True): (4, 7),
    (False, True, True): (3, 5),
    (True, True, True): (7, 8),
}
_IDENTITY = (False, False, False)
# a progressive JPEG has about ten
_MOST_SCANS = 64


@dataclass(frozen=True)
class Orientation:
    """Mirrors pictures left to right (*hflip*) and top to bottom (*vflip*), then turns them clockwise by *rotation*.

    *rotation* is 0, 90, 180 or 270 degrees; *method* is "pixels" or "exif", as in video.rotation_method; *quality*
    (1 to 100) is for pictures that have to be encoded anew, as all are that get an *overlay*. For one thread at a time.
    """

    rotation: int
    hflip: bool
    vflip: bool
    method: str = "pixels"
    quality: int = 80
    overlay: Overlay | None = None

    @classmethod
    def of(cls, video: VideoConfig) -> Orientation:
        """The orientation that the configuration asks for, with the overlay."""
        orientation = cls(video.rotation, video.hflip, video.vflip, video.rotation_method, video.quality)
        return replace(orientation, overlay=overlay_of(video))

    @property
    def identity(self) -> bool:
        """Whether nothing is to do."""
        return self._turn == _IDENTITY and not self.overlay

    @property
    def quarter(self) -> bool:
        """Whether the sides swap."""
        return self._turn[2]

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that a picture of this size has afterwards, as its JPEG header says it."""
        return (height, width) if self.quarter and self.method == "pixels" else (width, height)

    def jpeg(self, jpeg: bytes) -> bytes:
        """The whole picture *jpeg*, which has no Exif segment, upright; JpegError if it cannot be decoded."""
        if self.identity:
            return jpeg
        if self.overlay:
            return self._anew(jpeg)
        if self.method == "exif":
            return self._marked(jpeg)
        return (self._lossless and self._lossless(jpeg)) or self._anew(jpeg)

    def described(self, upright: bytes, photo: exif.Photo) -> bytes:
        """*upright*, which came out of `jpeg` or `encode`, with all that is known of *photo*."""
        marked = self.method == "exif" and self._turn != _IDENTITY
        rest = 4 + int.from_bytes(upright[4:6]) if marked else 2  # behind the mark that it has already
        return upright[:2] + exif.segment(_TURNS[self._turn][1] if marked else 1, photo) + upright[rest:]

    def encode(self, bgr: npt.NDArray[np.uint8]) -> bytes:
        """The pixels *bgr* (height x width x 3) as an upright JPEG; SourceError if no JPEG can be of that size."""
        import cv2

        pixels = self.array(bgr) if self.method == "pixels" else bgr
        if self.overlay:
            pixels = pixels.copy()
            self.overlay.draw(pixels if self.method == "pixels" else self.view(pixels))
        encoded, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, self.quality))
        if not encoded:
            height, width = bgr.shape[:2]
            raise SourceError(f"OpenCV cannot make a JPEG of {width}x{height}", Cause.SETTINGS)
        jpeg = data.tobytes()
        return self._marked(jpeg) if self.method == "exif" else jpeg

    def view(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The same memory (height x width, or x 3) as it will be seen, the right way up."""
        import numpy as np

        hflip, vflip, quarter = self._turn
        flipped = pixels[:: -1 if vflip else 1, :: -1 if hflip else 1]
        return np.rot90(flipped, -1) if quarter else flipped

    def array(self, bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The pixels *bgr* (height x width x 3) upright, whatever the method is; not copied if nothing is to do."""
        import cv2

        hflip, vflip, quarter = self._turn
        pixels = bgr
        if quarter:
            # a quarter turn clockwise is to transpose, then to mirror; flips from before it change places
            pixels = cv2.transpose(pixels)  # type: ignore[assignment]
            hflip, vflip = not vflip, hflip
        if hflip or vflip:
            pixels = cv2.flip(pixels, -1 if hflip and vflip else int(hflip))  # type: ignore[assignment]
        return pixels

    def _marked(self, jpeg: bytes) -> bytes:
        if self._turn == _IDENTITY:
            return jpeg
        return jpeg[:2] + exif.segment(_TURNS[self._turn][1]) + jpeg[2:]

    @cached_property
    def _turn(self) -> tuple[bool, bool, bool]:
        """The same as a key of _TURNS: half a turn is both flips."""
        half = self.rotation >= 180
        return (self.hflip != half, self.vflip != half, self.rotation % 180 == 90)

    @cached_property
    def _lossless(self) -> Lossless | None:
        try:
            return Lossless(_TURNS[self._turn][0])
        except OSError as error:
            log.warning(
                "Pictures are turned by decoding and encoding them, which takes several times the processor time: "
                "%s. To change that, run sudo apt install libturbojpeg0",
                error,
            )
            return None

    def _anew(self, jpeg: bytes) -> bytes:
        import cv2
        import numpy as np

        # OpenCV has no such limit: a file of 100 kB could keep it busy for a minute
        if jpeg.count(b"\xff\xda") > _MOST_SCANS:
            raise JpegError("it has more scans than any camera makes")
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
        except cv2.error as error:  # it is empty, or too large for OpenCV
            raise JpegError(f"OpenCV cannot decode it: {error}") from None
        if pixels is None:
            raise JpegError("OpenCV cannot decode it")
        return self.encode(pixels)  # type: ignore[arg-type]


def overlay_of(video: VideoConfig) -> Overlay | None:
    """The overlay that the configuration asks for; what draws it is loaded for it only."""
    if not video.overlay:
        return None
    from pi_cam_daemon.imaging.overlay import Overlay

    return Overlay(video.overlay)
