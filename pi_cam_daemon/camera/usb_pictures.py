"""Converts the data of a USB camera, JPEGs or raw pictures, to upright JPEGs of both sizes."""

from __future__ import annotations

import dataclasses
import mmap
from typing import Protocol

from pi_cam_daemon.camera import raw_pictures, v4l2
from pi_cam_daemon.camera.looks import Looks, looks_at_jpegs, looks_at_pixels, thinned
from pi_cam_daemon.camera.small import SmallPictures
from pi_cam_daemon.camera.source import Sink
from pi_cam_daemon.camera.usb_cameras import JPEGS
from pi_cam_daemon.config.schema import SmallConfig, VideoConfig
from pi_cam_daemon.imaging.known import KnownHeader
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.imaging.shrink import Shrink


class Pictures(Protocol):
    """Converts the data of one camera."""

    def is_ready(self, memory: mmap.mmap, length: int) -> bool:
        """Return whether the first *length* bytes of a buffer are an upright JPEG already; False says nothing."""

    def upright(self, data: bytes) -> bytes:
        """Return *data* as a whole upright JPEG, or raise JpegError."""

    def deliver(self, data: bytes | memoryview, captured_ns: int, sink: Sink) -> None:
        """Give *sink* what it wants of *data*, in both sizes. Raises JpegError. *data* may change after the call."""


def pictures(capture: v4l2.Capture, video: VideoConfig, small: SmallConfig, sink: Sink) -> Pictures:
    """Return what converts the data that *capture* gives."""
    if capture.pixel_format in JPEGS:
        shrunk = SmallPictures(sink, Shrink(small.width, small.quality).of_jpeg)
        return _Jpegs(Orientation.of(video), shrunk, looks_at_jpegs(sink))
    return _Raw(capture, video, small, sink)


class _Jpegs:
    def __init__(self, orientation: Orientation, small: SmallPictures[bytes], looks: Looks[bytes]) -> None:
        self._known = KnownHeader()
        self._orientation = orientation
        self._small = small
        self._looks = looks
        self._passes = orientation.identity

    def is_ready(self, memory: mmap.mmap, length: int) -> bool:
        return self._passes and self._known.matches(memory, length)

    def upright(self, data: bytes) -> bytes:
        picture = self._known.repair(data)
        return self._orientation.after(self._known.orientation).jpeg(picture)

    def deliver(self, data: bytes | memoryview, captured_ns: int, sink: Sink) -> None:
        picture = self.upright(data) if isinstance(data, bytes) else data
        sink.frame(picture, captured_ns)
        self._small.offer(lambda: bytes(picture), captured_ns)
        self._looks.offer(lambda: (bytes(picture), ()), captured_ns)


class _Raw:
    def __init__(self, capture: v4l2.Capture, video: VideoConfig, small: SmallConfig, sink: Sink) -> None:
        self._to_bgr = raw_pictures.to_bgr(capture.pixel_format, capture.width, capture.height, capture.row_bytes)
        self._orientation = Orientation.of(video)
        self._shrink = Shrink(small.width, small.quality)
        self._small_orientation = Orientation.of(dataclasses.replace(video, quality=small.quality))
        self._looks = looks_at_pixels(sink, self._orientation)

    def is_ready(self, _memory: mmap.mmap, _length: int) -> bool:
        return False

    def upright(self, data: bytes) -> bytes:
        return self._orientation.encode(self._to_bgr(data))

    def deliver(self, data: bytes | memoryview, captured_ns: int, sink: Sink) -> None:
        pixels = self._to_bgr(bytes(data))
        if sink.wanted:
            sink.frame(self._orientation.encode(pixels), captured_ns)
        else:
            sink.passed()
        if sink.claim_small():
            sink.small(self._shrink.of_pixels(pixels, self._small_orientation), captured_ns)
        self._looks.offer(lambda: (thinned(pixels), ()), captured_ns)
