"""Turns and mirrors pictures by the cheapest exact method (docs/decisions/003-rotation.md); loads OpenCV if needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pi_cam_daemon.config.schema import VideoConfig
from pi_cam_daemon.errors import Cause, JpegError, SourceError
from pi_cam_daemon.imaging import exif
from pi_cam_daemon.imaging.jpeg import parse
from pi_cam_daemon.imaging.turbojpeg import Lossless

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pi_cam_daemon.imaging.masks import Masks
    from pi_cam_daemon.imaging.overlay import Overlay

log = logging.getLogger(__name__)

# (hflip, vflip, then a quarter turn clockwise) →
# operation of libjpeg-turbo (TJXOP in turbojpeg.h), value of Exif's tag Orientation
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
# A progressive JPEG has about ten. OpenCV has no limit: a file of 100 kB could keep it busy for a minute.
_MOST_SCANS = 64


@dataclass(frozen=True)
class Orientation:
    """Mirrors pictures left to right (*hflip*) and top to bottom (*vflip*), then turns them clockwise by *rotation*.

    *rotation* is 0, 90, 180 or 270 degrees. *method* is "pixels" or "exif", as in video.rotation_method. *quality* (1
    to 100) is used if a picture has to be encoded again; an *overlay* always needs that. *masks* are black in each
    picture, upright, or else there is no picture. Not thread-safe.
    """

    rotation: int
    hflip: bool
    vflip: bool
    method: str = "pixels"
    quality: int = 80
    overlay: Overlay | None = None
    masks: Masks | None = None

    @classmethod
    def of(cls, video: VideoConfig) -> Orientation:
        """Return the orientation that the configuration asks for, with the overlay and the masks."""
        method, overlay, masks = video.rotation_method, overlay_of(video), masks_of(video)
        return cls(video.rotation, video.hflip, video.vflip, method, video.quality, overlay, masks)

    def after(self, mark: int) -> Orientation:
        """Return the orientation for a picture whose Exif asks for *mark* (1 to 8) first; it is made once for each."""
        if mark == 1:
            return self
        if mark not in self._after:
            hflip, vflip, quarter = next(turn for turn, (_, known) in _TURNS.items() if known == mark)
            then = self._turn
            # behind a quarter turn the flips swap their axes, and two quarter turns are both flips
            hflip ^= then[1 if quarter else 0] ^ (quarter and then[2])
            vflip ^= then[0 if quarter else 1] ^ (quarter and then[2])
            rotation = 90 if quarter != then[2] else 0
            self._after[mark] = replace(self, rotation=rotation, hflip=hflip, vflip=vflip)
        return self._after[mark]

    @property
    def identity(self) -> bool:
        """True if pictures stay as they are."""
        return self._turn == _IDENTITY and not self.overlay and not self.masks

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) in the JPEG header that a picture of this size gets."""
        return (height, width) if self._turn[2] and self.method == "pixels" else (width, height)

    def jpeg(self, jpeg: bytes) -> bytes:
        """Return *jpeg*, a whole picture without Exif, upright; JpegError if it cannot be decoded."""
        if self.identity:
            return jpeg
        if self.overlay:
            return self._reencode(jpeg)
        if self.method == "exif" and not self.masks:
            return self._tagged(jpeg)
        result = self._lossless and self._lossless(jpeg)
        if result and self.method == "exif":
            return self._tagged(result)
        return result or self._reencode(jpeg)

    def described(self, upright: bytes, photo: exif.Photo) -> bytes:
        """Return *upright*, a result of `jpeg` or `encode`, with the facts of *photo* as Exif, in place of its own."""
        marked = [(start, end) for start, end in parse(upright)[3] if upright.startswith(b"Exif\0", start + 4)]
        start, end = marked[0] if marked else (2, 2)
        mark = exif.orientation(upright[start:end])
        return upright[:2] + exif.segment(mark, photo) + upright[2:start] + upright[end:]

    def encode(self, bgr: npt.NDArray[np.uint8]) -> bytes:
        """Return the pixels *bgr* (height x width x 3) as an upright JPEG; SourceError if the size is impossible."""
        import cv2

        pixels = self.masked(bgr)
        pixels = self.array(pixels) if self.method == "pixels" else pixels
        if self.overlay:
            pixels = pixels.copy()
            self.overlay.draw(pixels if self.method == "pixels" else self.view(pixels))
        encoded, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, self.quality))
        if not encoded:
            height, width = bgr.shape[:2]
            message = f"OpenCV cannot make a JPEG of {width}x{height}"
            raise SourceError(message, Cause.SETTINGS, setting="video.width, video.height", wanted=f"{width}x{height}")
        jpeg = data.tobytes()
        return self._tagged(jpeg) if self.method == "exif" else jpeg

    def masked(self, bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the pixels *bgr* (height x width x 3), not upright yet, with the masks; a copy if there are any."""
        if not self._taken:
            return bgr
        pixels = bgr.copy()
        self._taken.blacken(pixels)
        return pixels

    def masks_before(self, masks: Masks) -> Masks:
        """Return *masks*, which are those of the upright picture, for the picture before it is turned."""
        return masks.before(*self._turn)

    def view(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return an upright view of *pixels* (height x width, or x 3); it shares their memory."""
        import numpy as np

        hflip, vflip, quarter = self._turn
        flipped = pixels[:: -1 if vflip else 1, :: -1 if hflip else 1]
        return np.rot90(flipped, -1) if quarter else flipped

    def array(self, bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the pixels *bgr* (height x width x 3) upright, for either method; not copied if they are already."""
        import cv2

        hflip, vflip, quarter = self._turn
        pixels = bgr
        if quarter:
            # a quarter turn clockwise is a transposition, then a flip; flips from before it swap their axes
            pixels = cv2.transpose(pixels)  # type: ignore[assignment]
            hflip, vflip = not vflip, hflip
        if hflip or vflip:
            pixels = cv2.flip(pixels, -1 if hflip and vflip else int(hflip))  # type: ignore[assignment]
        return pixels

    def _tagged(self, jpeg: bytes) -> bytes:
        """Return *jpeg* with an Exif segment that tells viewers to turn it."""
        if self._turn == _IDENTITY:
            return jpeg
        return jpeg[:2] + exif.segment(_TURNS[self._turn][1]) + jpeg[2:]

    @cached_property
    def _turn(self) -> tuple[bool, bool, bool]:
        """Return the orientation as a key of _TURNS: half a turn is both flips."""
        half = self.rotation >= 180
        return (self.hflip != half, self.vflip != half, self.rotation % 180 == 90)

    @cached_property
    def _after(self) -> dict[int, Orientation]:
        return {}

    @cached_property
    def _taken(self) -> Masks | None:
        return self.masks and self.masks_before(self.masks)

    @cached_property
    def _lossless(self) -> Callable[[bytes], bytes | None] | None:
        turn, masks = self._turn, self.masks
        if self.method == "exif":
            turn, masks = _IDENTITY, self._taken
        op = _TURNS[turn][0]
        try:
            if not masks:
                return Lossless(op)
            from pi_cam_daemon.imaging.black_blocks import BlackBlocks

            return BlackBlocks(op, masks, transposed=turn[2])
        except OSError as error:
            log.warning(
                "Pictures are turned and masked by decoding and encoding them, which takes several times the processor "
                "time: %s. To change that, run sudo apt install libturbojpeg0",
                error,
            )
            return None

    def _reencode(self, jpeg: bytes) -> bytes:
        import cv2
        import numpy as np

        if jpeg.count(b"\xff\xda") > _MOST_SCANS:
            raise JpegError("it has more scans than any camera makes")
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
        except cv2.error as error:  # the data is empty, or the picture too large for OpenCV
            raise JpegError(f"OpenCV cannot decode it: {error}") from None
        if pixels is None:
            raise JpegError("OpenCV cannot decode it")
        return self.encode(pixels)  # type: ignore[arg-type]


def overlay_of(video: VideoConfig) -> Overlay | None:
    """Return the overlay that the configuration asks for; OpenCV is loaded only if there is one."""
    if not video.overlay:
        return None
    from pi_cam_daemon.imaging.overlay import Overlay

    return Overlay(video.overlay)


def masks_of(video: VideoConfig) -> Masks | None:
    """Return the masks that the configuration asks for; None if there are none."""
    if not video.masks:
        return None
    from pi_cam_daemon.imaging.masks import Masks

    return Masks.of(video.masks)
