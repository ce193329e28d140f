"""A camera's configuration as a Pi 0 to 4 gives it: libcamera's pipeline_base.cpp and vc4.cpp."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import libcamera

# without a raw stream: min_total_unicam_buffers of rpi_apps.yaml, which picamera2 uses
_OWN_RAW_BUFFERS = 4
_LEAST_SIDE, _MOST_SIDE = 64, 16384  # of bcm2835-isp
_BYTES_A_PIXEL = {"YUV420": 1, "NV12": 1, "BGR888": 3, "RGB888": 3, "XBGR8888": 4, "XRGB8888": 4}


class PiConfiguration:
    """Stands for libcamera's CameraConfiguration, with the *real* one of the virtual pipeline behind it.

    *camera* is a virtual_pi.PiCamera.
    """

    def __init__(self, camera: Any, real: Any, roles: list[Any]) -> None:
        self.real = real
        self.camera = camera
        self.orientation = libcamera.Orientation.Rotate0
        self.sensor_config: Any = None
        self.mode = max(camera.sensor.modes, key=lambda mode: mode.size)
        self._streams = [self._stream(i, role) for i, role in enumerate(roles)]

    def _stream(self, index: int, role: Any) -> Any:
        raw = role == libcamera.StreamRole.Raw
        sensor = self.camera.sensor
        size = libcamera.Size(*sensor.size) if raw else libcamera.Size(800, 600)
        name = sensor.raw_format if raw else "XRGB8888"
        sizes = [libcamera.Size(*mode.size) for mode in sensor.modes]
        formats = SimpleNamespace(pixel_formats=[libcamera.PixelFormat(name)], sizes=lambda _: sizes)
        return SimpleNamespace(
            size=size, pixel_format=libcamera.PixelFormat(name), stride=0, frame_size=0, buffer_count=2 if raw else 4,
            color_space=None, formats=formats, stream=None, real=self.real.at(index),
        )  # fmt: skip

    def at(self, index: int) -> Any:
        return self._streams[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the main picture."""
        return self.at(0).size.width, self.at(0).size.height

    @property
    def picture_sizes(self) -> list[tuple[int, int]]:
        """Return width and height of each stream that is not raw, in their order."""
        return [sides(stream) for stream in self._streams if not _is_raw(stream)]

    @property
    def raw(self) -> list[Any]:
        return [stream for stream in self._streams if _is_raw(stream)]

    def validate(self) -> Any:
        status = libcamera.CameraConfiguration.Status
        pictures = [stream for stream in self._streams if not _is_raw(stream)]
        if not self._streams or len(pictures) > 2 or len(self.raw) > 1:
            return status.Invalid
        mode = self._find_mode()
        if mode is None:
            return status.Invalid
        self.mode = mode
        before = self._state()
        self.orientation = self._possible(self.orientation)
        largest = max(pictures, key=lambda stream: stream.size.width * stream.size.height)
        for stream in pictures:
            width, height = (
                min(max(side, _LEAST_SIDE), _MOST_SIDE, most)
                for side, most in zip(sides(stream), sides(largest), strict=True)
            )
            stream.size = libcamera.Size(max(width, _LEAST_SIDE), max(height, _LEAST_SIDE))
            stream.color_space = largest.color_space or libcamera.ColorSpace.Sycc()
            name = str(stream.pixel_format)
            planar = name in ("YUV420", "NV12")
            stream.stride = _aligned(max(stream.stride, stream.size.width * _BYTES_A_PIXEL[name]), 64 if planar else 32)
            stream.frame_size = stream.stride * stream.size.height * (3 if planar else 2) // 2
        for stream in self.raw:
            stream.size = libcamera.Size(*mode.size)
            stream.pixel_format = libcamera.PixelFormat(self.camera.sensor.raw_format)
            stream.color_space = libcamera.ColorSpace.Raw()
            stream.stride, stream.frame_size = self._raw_bytes()
        for stream in self._streams:  # the virtual pipeline has its one size
            stream.real.buffer_count = stream.buffer_count
        if self.real.validate() == status.Invalid:
            return status.Invalid
        return status.Valid if self._state() == before else status.Adjusted

    def _state(self) -> list[object]:
        return [self.orientation, *((sides(stream), str(stream.pixel_format)) for stream in self._streams)]

    def _find_mode(self) -> Any:
        """Return the mode that is asked for, as findBestFormat() finds it; None if the sensor lacks it."""
        sensor = self.camera.sensor
        if self.sensor_config is not None:
            size = self.sensor_config.output_size
            asked = (size.width, size.height)
            found = [mode for mode in sensor.modes if mode.size == asked]
            return found[0] if found and self.sensor_config.bit_depth == sensor.bit_depth else None
        wide, high = sides((self.raw or self._streams)[0])

        def penalty(wanted: float, there: float) -> float:
            missing = wanted - there if wanted >= there else (there - wanted) / 8
            return missing if wanted == there else 2 * missing

        def score(mode: Any) -> float:
            width, height = mode.size
            return penalty(wide, width) + penalty(high, height) + 1500 * penalty(wide / high, width / height)

        return min(sensor.modes, key=score)

    def _possible(self, wanted: Any) -> Any:
        """Return the orientation that the sensor gives: no sensor transposes, and some cannot flip."""
        turned = libcamera.Orientation
        flips = (turned.Rotate0, turned.Rotate0Mirror, turned.Rotate180, turned.Rotate180Mirror)
        return wanted if wanted in flips and self.camera.flips else turned.Rotate0

    def flipped(self) -> tuple[bool, bool]:
        turned = libcamera.Orientation
        return (
            self.orientation in (turned.Rotate0Mirror, turned.Rotate180),
            self.orientation in (turned.Rotate180Mirror, turned.Rotate180),
        )

    def _raw_bytes(self) -> tuple[int, int]:
        """Return stride and size of a packed raw picture in the sensor's mode."""
        stride = _aligned(self.mode.size[0] * self.camera.sensor.bit_depth // 8, 32)
        return stride, stride * self.mode.size[1]

    @property
    def own_bytes(self) -> int:
        """Return the bytes that start() takes for libcamera's own buffers."""
        return 0 if self.raw else _OWN_RAW_BUFFERS * self._raw_bytes()[1]


def _is_raw(stream: Any) -> bool:
    return str(stream.pixel_format).startswith("S")


def sides(stream: Any) -> tuple[int, int]:
    return stream.size.width, stream.size.height


def _aligned(number: int, to: int) -> int:
    return (number + to - 1) // to * to
