"""Source for USB cameras and other V4L2 cameras: takes their JPEGs, or encodes their raw pictures."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pi_cam_daemon.camera import v4l2, v4l2_device
from pi_cam_daemon.camera.source import BadFrameCounter, Commands, Sink, Stop, TakeStill, first_of, next_command
from pi_cam_daemon.camera.usb_cameras import (
    DEV,
    FORMATS,
    JPEGS,
    SYSFS,
    Camera,
    cameras,
    explain,
    find_camera,
    useless,
)
from pi_cam_daemon.camera.usb_controls import UsbControls
from pi_cam_daemon.camera.usb_pictures import pictures
from pi_cam_daemon.config.schema import SmallConfig, UsbConfig, VideoConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import JpegError, SourceError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.ipc.messages import CameraInfo, SetControls, Still

log = logging.getLogger(__name__)

# interval of the check for commands while no picture arrives
_CHECK_MS = 200
# A camera needs about this long to adjust its exposure after a change of size.
_SETTLE_SECONDS = 1.0
# the server's deadline is a little longer (stills.py)
_STILL_SECONDS = 8.0

_Mode = tuple[str, int, int]  # pixel format, width, height


def unchosen(wanted: str, dev: Path = DEV, sysfs: Path = SYSFS) -> str:
    """Return how to choose another camera if *wanted* chooses none; "" if there is nothing to choose."""
    if wanted:
        return ""
    return first_of("USB", "usb.device", [f"{camera.path} is {camera.name}" for camera in cameras(dev, sysfs)])


class UsbSource:
    """Delivers the pictures of one USB camera, found in *dev* and *sysfs*; *settings* are its first controls."""

    def __init__(
        self,
        video: VideoConfig,
        usb: UsbConfig,
        small: SmallConfig,
        dev: Path = DEV,
        sysfs: Path = SYSFS,
        settings: Mapping[str, Value] | None = None,
    ) -> None:
        self._video = video
        self._usb = usb
        self._small = small
        self._settings = settings or {}
        self._dev = dev
        self._sysfs = sysfs

    def run(self, sink: Sink, commands: Commands) -> None:
        camera = find_camera(self._usb.device, self._dev, self._sysfs)
        reason = unchosen(self._usb.device, self._dev, self._sysfs)
        try:
            with v4l2.opened(camera.node) as fd:
                capture = self._configure(fd, camera)
                controls = UsbControls(fd)
                report = controls.set(0, self._settings)
                largest = self._largest(fd, capture)
                announced = False
                while True:
                    with capture.streaming():
                        if not announced:
                            sink.opened(replace(self._info(camera, capture), reason=reason))
                            sink.controls(report)
                            announced = True
                        number = self._deliver(camera, capture, largest, controls, sink, commands)
                    if number is None:
                        return
                    still = self._take_still(fd, camera, largest, number, sink)
                    capture = self._configure(fd, camera)
                    sink.still(still)
        except SourceError:
            raise
        except OSError as error:
            raise explain(error, camera.path) from error

    def _configure(self, fd: int, camera: Camera) -> v4l2.Capture:
        """Set the camera to the stream's format, size and rate; SourceError if it lacks the format."""
        video = self._video
        device = v4l2_device.describe(fd)
        wanted = self._usb.pixel_format
        for name in FORMATS[wanted]:
            if name in device.pixel_formats:
                capture = v4l2.Capture(fd, name, video.width, video.height, video.framerate)
                if capture.pixel_format == name:
                    return capture
        raise useless(camera, device, wanted)

    def _info(self, camera: Camera, capture: v4l2.Capture) -> CameraInfo:
        """Describe the camera's real settings; log how they differ from those that were configured."""
        video = self._video
        width, height, rate = capture.width, capture.height, capture.framerate
        if (width, height) != (video.width, video.height):
            sizes = width, height, video.width, video.height
            log.warning("%s gives %dx%d, not %dx%d; `v4l2-ctl --list-formats-ext` shows its sizes", camera.path, *sizes)
        if abs(rate - video.framerate) > 0.01 * video.framerate:
            log.warning("%s gives %.4g frames a second, not %g", camera.path, rate, video.framerate)
        size = Orientation.of(video).size(width, height)
        encoder = "the camera's own JPEG" if capture.pixel_format in JPEGS else "software JPEG (OpenCV)"
        return CameraInfo("usb", str(camera), *size, rate, capture.pixel_format, encoder)

    def _largest(self, fd: int, capture: v4l2.Capture) -> _Mode:
        """Return the mode for stills: the largest size of the formats that may be used, at least the stream's."""
        offered = v4l2_device.pixel_formats(fd)
        names = [name for name in FORMATS[self._usb.pixel_format] if name in offered]
        modes = [(name, *v4l2_device.largest_size(fd, name, jpeg.MOST_PIXELS)) for name in names]
        # of two formats with the same size, max() returns the first, which is the better one
        streamed: _Mode = capture.pixel_format, capture.width, capture.height
        return max(streamed, *modes, key=lambda mode: mode[1] * mode[2])

    def _take_still(self, fd: int, camera: Camera, mode: _Mode, number: int, sink: Sink) -> Still:
        """Take the still *number* in *mode*. If the camera fails at a mode that it listed, the still says so."""
        try:
            capture = v4l2.Capture(fd, *mode, self._video.framerate)
            with capture.streaming():
                return self._first_settled(camera, capture, number, sink)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise
            return Still(number, refused=f"No picture of full size: {explain(error, camera.path).message}")

    def _first_settled(self, camera: Camera, capture: v4l2.Capture, number: int, sink: Sink) -> Still:
        """Return the first valid picture after _SETTLE_SECONDS as the still *number*."""
        begun = time.monotonic()
        orientation = Orientation.of(self._video)
        converter = pictures(capture, self._video, self._small, sink)
        why = "none came"
        while (seconds := time.monotonic() - begun) < _STILL_SECONDS:
            picture = capture.newest() if capture.wait(_CHECK_MS) else None
            if not picture:
                continue
            memory, _, length, _, damaged = picture
            data = memory[:length]
            capture.give_back()
            if seconds > _SETTLE_SECONDS and not damaged:
                try:
                    upright = converter.upright(data)
                except JpegError as error:
                    why = str(error)
                else:
                    return _still(number, upright, orientation, camera, time.monotonic_ns())
        size = f"{capture.width}x{capture.height}"
        return Still(number, refused=f"The camera gave no picture of {size} within {_STILL_SECONDS:g} s: {why}")

    def _deliver(
        self, camera: Camera, capture: v4l2.Capture, mode: _Mode, controls: UsbControls, sink: Sink, commands: Commands
    ) -> int | None:
        """Deliver frames. Return the number of a still that needs *mode*, or None after a Stop."""
        orientation = Orientation.of(self._video)
        converter = pictures(capture, self._video, self._small, sink)
        bad_frames = BadFrameCounter(camera.path, sink)
        captured_ns = time.monotonic_ns()
        still = None
        while True:
            quiet = sink.quiet_seconds if still is None else 0.0
            idle = quiet > 0
            if idle or not commands.empty():
                match next_command(commands, quiet):
                    case Stop():
                        return None
                    case TakeStill(number):
                        if (capture.width, capture.height) != mode[1:]:
                            return number
                        still = number  # the stream has the full size: its next picture is the still
                    case SetControls(number, values):
                        sink.controls(controls.set(number, values))
            if idle:
                sink.passed(capture.skip())
            if not capture.wait(_CHECK_MS):
                continue
            picture = capture.newest()
            if not picture:
                continue
            if idle:
                sink.passed(capture.dropped())
            memory, view, length, timestamp_ns, damaged = picture
            now_ns = time.monotonic_ns()
            # some drivers give no timestamp, or one of another clock
            captured_ns = timestamp_ns if captured_ns < timestamp_ns <= now_ns else now_ns
            if still is None and not damaged and converter.is_ready(memory, length):
                converter.deliver(view[:length], captured_ns, sink)
                capture.give_back()
                continue
            data = memory[:length]
            capture.give_back()
            try:
                if damaged:
                    raise JpegError("the driver reports it as damaged")
                if still is not None:
                    sink.still(_still(still, converter.upright(data), orientation, camera, captured_ns))
                    still = None
                converter.deliver(data, captured_ns, sink)
            except JpegError as error:
                bad_frames.add(str(error))


def _still(number: int, upright: bytes, orientation: Orientation, camera: Camera, captured_ns: int) -> Still:
    return Still(number, orientation.described(upright, Photo(captured_ns, camera.name)), captured_ns)
