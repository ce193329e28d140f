"""Chooses one of picamera2's JPEG encoders and passes its pictures on."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import logging
import threading
import time
from pathlib import Path
from typing import Any

from pi_cam_daemon.camera import v4l2_device
from pi_cam_daemon.camera.csi_bitrate import SETTLING_PICTURES, BitrateControl
from pi_cam_daemon.camera.source import BadFrameCounter, Sink
from pi_cam_daemon.errors import JpegError, SourceError
from pi_cam_daemon.imaging.orientation import Orientation

log = logging.getLogger(__name__)

_SOI = b"\xff\xd8"
# picamera2 opens this one without a look at what it is
_NODE, _CARD = Path("/dev/video11"), "bcm2835-codec-encode"
# Larger pictures fail with EINVAL or crash the VideoCore's codec (picamera2 #473).
_HARDWARE_MAX_SIDE = 1920


def has_hardware_encoder(vc4: bool, width: int, height: int) -> bool:
    """Return True if the hardware can encode this size. *vc4* means a Pi 0 to 4; a Pi 5 has no encoder."""
    return vc4 and max(width, height) <= _HARDWARE_MAX_SIDE


@functools.cache
def _is_encoder() -> bool:
    """Return True if picamera2's node is the encoder; log why not. Another driver may have taken its number.

    PermissionError without the permission to open it.
    """
    try:
        card = v4l2_device.device(_NODE).name
    except FileNotFoundError:
        problem = f"There is no {_NODE}, the hardware's JPEG encoder"
    except PermissionError:
        raise
    except OSError as error:
        problem = f"{_NODE} cannot be asked whether it is the hardware's JPEG encoder ({error.strerror})"
    else:
        if card == _CARD:
            return True
        problem = f"{_NODE} is {card}, not the hardware's JPEG encoder"
    log.warning("%s: pictures are encoded in software", problem)
    return False


def choose_encoder(width: int, height: int, quality: int) -> tuple[Any, str]:
    """Return the encoder for pictures of this size on this machine, and the name to show for it."""
    from picamera2.platform import Platform, get_platform

    if has_hardware_encoder(get_platform() is Platform.VC4, width, height) and _is_encoder():
        return hardware_encoder(width, height, quality)
    # On a Pi 5 MJPEGEncoder is FFmpeg's: its eight threads delay the stream by eight frames.
    return software_encoder(quality)


def hardware_encoder(width: int, height: int, quality: int) -> tuple[Any, str]:
    """Return an encoder that corrects its bitrate by the sizes of its pictures, and the name to show for it."""
    from picamera2.encoders import MJPEGEncoder
    from videodev2 import V4L2_CID_MPEG_VIDEO_BITRATE, VIDIOC_S_CTRL, v4l2_control

    control = BitrateControl(width, height, quality)

    class AdaptingEncoder(MJPEGEncoder):  # type: ignore[misc]
        def outputframe(self, frame: bytes, *details: Any) -> None:
            # a piece of a picture that did not fit into one buffer does not begin as a JPEG
            if control.changed(len(frame)) if frame.startswith(_SOI) else control.overflowed():
                wanted = v4l2_control()
                wanted.id, wanted.value = V4L2_CID_MPEG_VIDEO_BITRATE, control.bitrate
                with contextlib.suppress(OSError):  # the old bitrate stays
                    fcntl.ioctl(self.vd, VIDIOC_S_CTRL, wanted)
            super().outputframe(frame, *details)

    encoder = AdaptingEncoder(control.bitrate)
    encoder.framerate, encoder._enable_framerate = control.framerate, True
    return encoder, "hardware MJPEG (V4L2)"


def software_encoder(quality: int) -> tuple[Any, str]:
    """Return the encoder for pictures of any size, and the name to show for it."""
    from picamera2.encoders import JpegEncoder

    return JpegEncoder(q=quality), "software JPEG (simplejpeg)"


def encode_wanted(encoder: Any, sink: Sink) -> None:
    """Make *encoder* skip the frames that *sink* does not want; they are counted, as a sign that the camera lives."""
    from picamera2.encoders import MJPEGEncoder

    encode = encoder.encode
    settling = itertools.repeat(True, SETTLING_PICTURES if isinstance(encoder, MJPEGEncoder) else 0)

    def encode_or_pass(stream: str, request: Any) -> None:
        if next(settling, False) or sink.wanted:
            encode(stream, request)
        else:
            sink.passed()

    encoder.encode = encode_or_pass


def output_to(sink: Sink, encoder: Any, orientation: Orientation, name: str) -> Any:
    """Return a picamera2 output that passes the encoder's pictures of the camera *name* to *sink*, upright.

    Broken ones are left out: the hardware gives a picture that is larger than its buffer in pieces, and a picture that
    failed is an old one. Only the newest picture is turned, by the thread that calls `wait`: in its own thread an
    encoder's queue would grow.
    """
    from picamera2.outputs import Output

    class SinkOutput(Output):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._changed = threading.Condition()
            self._newest: tuple[bytes, int] | None = None
            self._error: Exception | None = None
            self._bad = BadFrameCounter(name, sink)
            self._codec = False  # a JPEG came, at least a part of one
            self._latest_us = -1

        def wait(self, seconds: float) -> None:
            """Wait for a picture, turn it and pass it on. Raises the first error of the encoder's thread."""
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
                except JpegError as error:  # if no later picture is better, the camera counts as stalled
                    self._bad.add(error)

        def outputframe(self, frame: bytes, _keyframe: bool, timestamp: int | None, *_: Any) -> None:
            if self._error:
                return
            try:
                begins = frame.startswith(_SOI)
                self._codec |= begins
                if not self._codec:
                    # without an MJPEG codec the hardware encoder falls back to H.264 (picamera2 #351)
                    message = "The encoder's pictures are no JPEGs: the firmware has no MJPEG codec"
                    command = "sudo apt full-upgrade"
                    raise SourceError(message, hint=f"Run `{command}`, then reboot", command=command)
                if not begins or not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
                    self._bad.add("it is not whole: larger than the encoder's buffer, or broken")
                    return
                if timestamp is not None:
                    if timestamp <= self._latest_us:
                        # V4L2_BUF_FLAG_ERROR, which picamera2 does not tell: the buffer has what it had before
                        self._bad.add("it is not newer than the one before")
                        return
                    self._latest_us = timestamp
                captured = captured_ns(encoder.firsttimestamp, timestamp, time.monotonic_ns())
                if orientation.identity:
                    sink.frame(frame, captured)
                    return
                with self._changed:
                    self._newest = (frame, captured)
                    self._changed.notify()
            except Exception as error:  # noqa: BLE001 - the top of the encoder's thread: `wait` raises it again
                with self._changed:
                    self._error = error
                    self._changed.notify()

    return SinkOutput()


def captured_ns(first_us: int | None, since_first_us: int | None, now_ns: int) -> int:
    """Return the time at which the sensor took a frame, on CLOCK_MONOTONIC, never later than now.

    An encoder counts from its first SensorTimestamp. That is on CLOCK_BOOTTIME: the same, as a Pi never suspends.
    """
    if first_us is None or since_first_us is None:
        return now_ns
    return min((first_us + since_first_us) * 1000, now_ns)
