"""The small stream of a CSI camera: picamera2's second stream, `lores`, whose pictures are encoded in a thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pi_cam_daemon.camera.csi_encoders import captured_ns
from pi_cam_daemon.camera.looks import Looks, thinned
from pi_cam_daemon.camera.small import SmallPictures
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.imaging.shrink import size as shrunk

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pi_cam_daemon.imaging.overlay import Overlay

    Plane = npt.NDArray[np.uint8]

STREAM = "lores"
FORMAT = "YUV420"
# The ISP of a Pi 0 to 4 makes a shorter side as long as this, and squashes the picture.
_SHORTEST_SIDE = 64
_LONGEST_SIDE = 1200


def second_stream(size: tuple[int, int]) -> dict[str, Any]:
    """Return picamera2's configuration of the second stream beside pictures of *size*.

    Its sides are half as long. On a Pi 0 to 4 libcamera makes such a stream for itself if there is no second one: with
    it the noise is taken out of the colours of the big picture. Another size might end that (vc4.cpp in libcamera).
    """
    half = shrunk(*size, _LONGEST_SIDE)
    return {"size": half if min(half) >= _SHORTEST_SIDE else size, "format": FORMAT}


def small_encoder(small: SmallPictures[YUV], looks: Looks[Plane]) -> Any:
    """Return a picamera2 encoder that offers the pictures of the second stream to both, and encodes nothing."""
    from picamera2 import MappedArray
    from picamera2.encoders import Encoder

    class SmallEncoder(Encoder):  # type: ignore[misc]
        def _encode(self, _stream: str, request: Any) -> None:
            def copied() -> YUV:
                with MappedArray(request, STREAM, write=False) as mapped:
                    return YUV(mapped.array.copy(), *self.size)

            def looked_at() -> tuple[Plane, tuple[float, ...]]:
                with MappedArray(request, STREAM, write=False) as mapped:
                    width, height = self.size
                    return thinned(mapped.array[:height, :width]), _facts(request.get_metadata())

            captured = captured_ns(self.firsttimestamp, self._timestamp(request), time.monotonic_ns())
            small.offer(copied, captured)
            looks.offer(looked_at, captured)

    return SmallEncoder()


def _facts(metadata: Mapping[str, Any]) -> tuple[float, ...]:
    """Return how libcamera exposed a picture: the brightness that its time and gain give, and the two colour gains."""
    brightness = metadata.get("ExposureTime", 1) * metadata.get("AnalogueGain", 1.0) * metadata.get("DigitalGain", 1.0)
    return brightness, *metadata.get("ColourGains", ())


class YUV:
    """The three planes of a picture of *width* x *height* in the format YUV420, in one array with padded rows."""

    def __init__(self, array: Plane, width: int, height: int) -> None:
        colours = array.reshape(array.shape[0] * 2, array.shape[1] // 2)[2 * height :, : width // 2]
        self.size = width, height
        self.planes = array[:height, :width], colours[: height // 2], colours[height // 2 : height]


class Encode:
    """Encodes the pictures of the second stream in *size* or smaller, upright, with *overlay*. Not thread-safe."""

    def __init__(self, size: tuple[int, int], quality: int, orientation: Orientation, overlay: Overlay | None) -> None:
        self._size = size
        self._quality = quality
        self._orientation = orientation
        self._overlay = overlay

    def __call__(self, picture: YUV) -> bytes:
        """Return *picture* as a JPEG. Raises JpegError if it cannot be turned."""
        import simplejpeg

        width, height = self._size
        luma, *colours = picture.planes
        if self._size != picture.size:
            luma = _scaled(luma, width, height)
            colours = [_scaled(colour, width // 2, height // 2) for colour in colours]
        if self._overlay:
            self._overlay.draw(self._orientation.view(luma))
        return self._orientation.jpeg(simplejpeg.encode_jpeg_yuv_planes(luma, *colours, self._quality))


def _scaled(plane: Plane, width: int, height: int) -> Plane:
    import cv2

    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
