"""picamera2's encoders: which one makes the JPEGs, and what hands them on."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from pi_cam_daemon.camera.source import Sink
from pi_cam_daemon.errors import JpegError, SourceError
from pi_cam_daemon.imaging.orientation import Orientation

log = logging.getLogger(__name__)

# (width, height, quality 1..100) to a picamera2 encoder and its name for people
MakeEncoder = Callable[[int, int, int], tuple[Any, str]]

# The VideoCore's codec: larger pictures fail with EINVAL or crash it (picamera2 #473).
_HARDWARE_MAX_SIDE = 1920
# picamera2's five levels: quality for JpegEncoder, and for MJPEGEncoder Mbit/s at 1920x1080 and 30 frames a second
_LEVELS = ((25, 16), (35, 20), (50, 30), (65, 40), (80, 50))
# The range of the control in the kernel's bcm2835-v4l2-codec, which clamps silently.
_BITRATE_MIN, _BITRATE_MAX = 25_000, 25_000_000


def has_hardware_encoder(vc4: bool, width: int, height: int) -> bool:
    """Whether the hardware can encode this: *vc4* is a Pi 0 to 4, a Pi 5 has no encoder."""
    return vc4 and max(width, height) <= _HARDWARE_MAX_SIDE


def bitrate(quality: int, width: int, height: int) -> int:
    """Bits a second that give the hardware encoder's pictures about the *quality* (1..100) of the software's.

    The driver assumes 30 frames a second whatever the camera delivers, so this sets the size of one picture.
    """
    segments = itertools.pairwise(_LEVELS)  # the outer ones go on beyond their ends
    segment = next((segment for segment in segments if quality <= segment[1][0]), _LEVELS[-2:])
    (low, low_megabits), (high, high_megabits) = segment
    megabits = low_megabits + (quality - low) * (high_megabits - low_megabits) / (high - low)
    bits = round(megabits * 1e6 * (width * height) / (1920 * 1080))
    return min(max(bits, _BITRATE_MIN), _BITRATE_MAX)


def choose_encoder(width: int, height: int, quality: int) -> tuple[Any, str]:
    """The encoder for pictures of this size on this machine, and its name for people."""
    from picamera2.encoders import MJPEGEncoder
    from picamera2.platform import Platform, get_platform

    if has_hardware_encoder(get_platform() is Platform.VC4, width, height):
        return MJPEGEncoder(bitrate(quality, width, height)), "hardware MJPEG (V4L2)"
    # On a Pi 5 MJPEGEncoder is FFmpeg's, whose eight threads hold back eight frames.
    return software_encoder(width, height, quality)


def software_encoder(_width: int, _height: int, quality: int) -> tuple[Any, str]:
    """The one for pictures of any size."""
    from picamera2.encoders import JpegEncoder

    return JpegEncoder(q=quality), "software JPEG (simplejpeg)"


def output_to(sink: Sink, encoder: Any, orientation: Orientation) -> Any:
    """What hands the encoder's pictures to *sink*, upright.

    To turn one takes milliseconds, in which the encoder's thread would queue frames without limit (picamera2's
    software encoder): so that is done by the thread that calls `wait`, with the newest one.
    """
    from picamera2.outputs import Output

    class SinkOutput(Output):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._changed = threading.Condition()
            self._newest: tuple[bytes, int] | None = None
            self._error: Exception | None = None

        def wait(self, seconds: float) -> None:
            """Turn the next picture, if one comes in time; raises the first error of the encoder's thread."""
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._error, seconds)
                if self._error:
                    raise self._error
                newest, self._newest = self._newest, None
            if newest and not sink.wanted:
                sink.passed()
            elif newest:
                frame, captured = newest
                try:
                    sink.frame(orientation.jpeg(frame), captured)
                except JpegError as error:  # the next one may do; should none, the camera counts as stalled
                    log.debug("left out a picture of %d bytes: %s", len(frame), error)

        def outputframe(
            self,
            frame: bytes,
            keyframe: bool = True,  # noqa: ARG002
            timestamp: int | None = None,
            packet: Any = None,  # noqa: ARG002
            audio: bool = False,  # noqa: ARG002
        ) -> None:
            if self._error:
                return
            try:
                if not frame.startswith(b"\xff\xd8"):
                    # without the MJPEG codec the hardware encoder falls back to H.264 (picamera2 #351)
                    raise SourceError(
                        "The encoder's pictures are no JPEGs: the firmware has no MJPEG codec",
                        hint="Run sudo apt full-upgrade, then reboot",
                    )
                captured = captured_ns(encoder.firsttimestamp, timestamp, time.monotonic_ns())
                if orientation.identity:
                    sink.frame(frame, captured)
                    return
                with self._changed:
                    self._newest = (frame, captured)
                    self._changed.notify()
            except Exception as error:  # noqa: BLE001 - the top of the encoder's thread, which would die without a word
                with self._changed:
                    self._error = error
                    self._changed.notify()

    return SinkOutput()


def captured_ns(first_us: int | None, since_first_us: int | None, now_ns: int) -> int:
    """When the sensor took a frame, on CLOCK_MONOTONIC.

    An encoder's timestamps count from its first frame, and it keeps that one's SensorTimestamp. libcamera says
    CLOCK_BOOTTIME, the kernel's buffers carry CLOCK_MONOTONIC, and the two agree on a Pi, which never suspends.
    Elsewhere a frame is at least never from the future.
    """
    if first_us is None or since_first_us is None:
        return now_ns
    return min((first_us + since_first_us) * 1000, now_ns)
