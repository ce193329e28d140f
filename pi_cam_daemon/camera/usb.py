"""A USB camera: its own JPEGs, or its raw pictures encoded here."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pi_cam_daemon.camera import v4l2
from pi_cam_daemon.camera.source import VIDEO_GROUP_HINT, BadFrameCounter, Commands, Sink, Stop, TakeStill, next_command
from pi_cam_daemon.camera.usb_controls import UsbControls
from pi_cam_daemon.config.schema import UsbConfig, VideoConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import Cause, JpegError, SourceError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.ipc.messages import CameraInfo, Still

log = logging.getLogger(__name__)

DEV = Path("/dev")
SYSFS = Path("/sys/class/video4linux")

# JPEGs have two names in the kernel: UVC cameras say MJPG, drivers of older cameras JPEG
_FORMATS = {"MJPG": ("MJPG", "JPEG"), "YUYV": ("YUYV",), "auto": ("MJPG", "JPEG", "YUYV")}
# how soon a Stop is seen when no picture comes
_CHECK_MS = 200
# A camera that was just switched to another size needs about this long to find its exposure.
_SETTLE_SECONDS = 1.0
# the server's patience is a little longer (stills.py)
_STILL_SECONDS = 8.0
# so many pictures without their end marker more than with it are a camera's habit, not accidents
_ENDLESS_BY_HABIT = 10

_LIST_HINT = "`pi-cam-daemon list-cameras` shows those that can be used"


_Mode = tuple[str, int, int]  # pixel format, width, height


@dataclass(frozen=True)
class Camera:
    """A USB camera. *path* is where udev's name for it, made of its serial number, stays; *node* may change."""

    path: Path
    node: Path
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.path})"


def cameras(dev: Path = DEV, sysfs: Path = SYSFS) -> list[Camera]:
    """The USB cameras, in the kernel's order; SourceError if there is none but nodes that may not be opened."""
    found = []
    forbidden = None
    for node in _nodes(dev, sysfs):
        try:
            device = v4l2.device(node)
        except PermissionError as error:
            forbidden = explain(error, node)
        except OSError as error:  # unplugged meanwhile, or of a driver that is broken: others may work
            log.debug("%s: %s", node, error.strerror)
        else:
            # what is on the Pi's own chip says "platform:", be it a codec or the receiver of a CSI camera
            # A depth camera's node has formats that are no pictures for people.
            if device.bus.startswith("usb") and not set(_FORMATS["auto"]).isdisjoint(device.pixel_formats):
                found.append(Camera(_lasting_name(node, dev), node, device.name))
    if forbidden and not found:
        raise forbidden
    return found


def find_camera(wanted: str, dev: Path = DEV, sysfs: Path = SYSFS) -> Camera:
    """The camera at the path *wanted*, the first USB camera if that is empty; SourceError if it is not there."""
    if not wanted:
        if found := cameras(dev, sysfs):
            return found[0]
        raise SourceError("There is no USB camera", Cause.MISSING, "Plug one in; `lsusb` shows what the Pi sees")
    path = Path(wanted)
    try:
        device = v4l2.device(path)
    except OSError as error:
        raise explain(error, path) from error
    if not device.captures:
        raise SourceError(f"{path} ({device.name}) is no camera", Cause.SETTINGS, _LIST_HINT)
    return Camera(path if path.is_symlink() else _lasting_name(path, dev), path.resolve(), device.name)


class UsbSource:
    """One USB camera, its controls set to *settings* from the start; *dev* and *sysfs* are where it is looked for."""

    def __init__(
        self,
        video: VideoConfig,
        usb: UsbConfig,
        dev: Path = DEV,
        sysfs: Path = SYSFS,
        settings: Mapping[str, Value] | None = None,
    ) -> None:
        self._video = video
        self._usb = usb
        self._settings = settings or {}
        self._dev = dev
        self._sysfs = sysfs

    def run(self, sink: Sink, commands: Commands) -> None:
        camera = find_camera(self._usb.device, self._dev, self._sysfs)
        try:
            with v4l2.opened(camera.node) as fd:
                capture = self._configure(fd)
                controls = UsbControls(fd)
                report = controls.set(0, self._settings)
                largest = self._largest(fd, capture)
                announced = False
                while True:
                    with capture.streaming():
                        if not announced:
                            self._announce(camera, capture, sink)
                            sink.controls(report)
                            announced = True
                        number = self._deliver(camera, capture, largest, controls, sink, commands)
                    if number is None:
                        return
                    still = self._take_still(fd, camera, largest, number)
                    capture = self._configure(fd)
                    sink.still(still)
        except SourceError:
            raise
        except OSError as error:
            raise explain(error, camera.path) from error

    def _configure(self, fd: int) -> v4l2.Capture:
        video = self._video
        there = v4l2.pixel_formats(fd)
        wanted = self._usb.pixel_format
        chosen = next((name for name in _FORMATS[wanted] if name in there), None)
        if chosen:
            capture = v4l2.Capture(fd, chosen, video.width, video.height, video.framerate)
            if capture.pixel_format == chosen:
                return capture
        lacks = "neither MJPG nor YUYV" if wanted == "auto" else f"no {wanted}"
        raise SourceError(f"The camera has {lacks}", Cause.SETTINGS, f"It has {', '.join(there) or 'nothing'}")

    def _announce(self, camera: Camera, capture: v4l2.Capture, sink: Sink) -> None:
        self._warn_of_differences(camera, capture)
        width, height = Orientation.of(self._video).size(capture.width, capture.height)
        encoder = "software JPEG (OpenCV)" if capture.pixel_format == "YUYV" else "the camera's own JPEG"
        sink.opened(CameraInfo("usb", str(camera), width, height, capture.framerate, capture.pixel_format, encoder))

    def _largest(self, fd: int, capture: v4l2.Capture) -> _Mode:
        """What a still is taken with: the largest size of any format that may be used, or that of the stream."""
        there = v4l2.pixel_formats(fd)
        names = [name for name in _FORMATS[self._usb.pixel_format] if name in there]
        modes = [(name, *v4l2.largest_size(fd, name, jpeg.MOST_PIXELS)) for name in names]
        # of two formats with that size the first is the better one
        streamed: _Mode = capture.pixel_format, capture.width, capture.height
        return max(streamed, *modes, key=lambda mode: mode[1] * mode[2])

    def _take_still(self, fd: int, camera: Camera, mode: _Mode, number: int) -> Still:
        """The still of that *number*; it has no picture where the camera does not do what it listed."""
        try:
            capture = v4l2.Capture(fd, *mode, self._video.framerate)
            with capture.streaming():
                return self._first_settled(camera, capture, number)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise
            return Still(number, refused=f"No picture of full size: {explain(error, camera.path).message}")

    def _first_settled(self, camera: Camera, capture: v4l2.Capture, number: int) -> Still:
        begun = time.monotonic()
        orientation = Orientation.of(self._video)
        upright_jpeg = _converter(capture, orientation)
        why = "none came"
        while (seconds := time.monotonic() - begun) < _STILL_SECONDS:
            picture = capture.newest() if capture.wait(_CHECK_MS) else None
            if picture and seconds > _SETTLE_SECONDS and not picture.damaged:
                try:
                    upright = upright_jpeg(picture.data)
                except JpegError as error:
                    why = str(error)
                else:
                    return _still(number, upright, orientation, camera, time.monotonic_ns())
        size = f"{capture.width}x{capture.height}"
        return Still(number, refused=f"The camera gave no picture of {size} within {_STILL_SECONDS:g} s: {why}")

    def _deliver(
        self,
        camera: Camera,
        capture: v4l2.Capture,
        largest: _Mode,
        controls: UsbControls,
        sink: Sink,
        commands: Commands,
    ) -> int | None:
        """Deliver until there is something else to do: a still of that number, or, with None, nothing more."""
        orientation = Orientation.of(self._video)
        upright_jpeg = _converter(capture, orientation)
        dropped = BadFrameCounter(camera.path)
        captured_ns = time.monotonic_ns()
        still = None
        while not isinstance(command := next_command(commands), Stop):
            if isinstance(command, TakeStill):
                if (capture.width, capture.height) != largest[1:]:
                    return command.number
                still = command.number  # it streams in full size: the next picture is it
            elif command:
                sink.controls(controls.set(command.number, command.values))
            if not capture.wait(_CHECK_MS):
                continue
            if not sink.wanted and still is None:
                if capture.skip():
                    sink.passed()
                continue
            picture = capture.newest()
            if not picture:
                continue
            try:
                if picture.damaged:
                    raise JpegError("the driver says that it is damaged")
                data = upright_jpeg(picture.data)
            except JpegError as error:
                dropped.add(str(error))
                continue
            now_ns = time.monotonic_ns()
            # some drivers give no time, or one of another clock
            captured_ns = picture.timestamp_ns if captured_ns < picture.timestamp_ns <= now_ns else now_ns
            if still is not None:
                sink.still(_still(still, data, orientation, camera, captured_ns))
                still = None
            sink.frame(data, captured_ns)
        return None

    def _warn_of_differences(self, camera: Camera, capture: v4l2.Capture) -> None:
        video = self._video
        if (capture.width, capture.height) != (video.width, video.height):
            sizes = capture.width, capture.height, video.width, video.height
            log.warning("%s gives %dx%d, not %dx%d; `v4l2-ctl --list-formats-ext` shows its sizes", camera.path, *sizes)
        if abs(capture.framerate - video.framerate) > 0.01 * video.framerate:
            log.warning("%s gives %.4g frames a second, not %g", camera.path, capture.framerate, video.framerate)


def _still(number: int, upright: bytes, orientation: Orientation, camera: Camera, captured_ns: int) -> Still:
    return Still(number, orientation.described(upright, Photo(captured_ns, camera.name)), captured_ns)


def _converter(capture: v4l2.Capture, orientation: Orientation) -> Callable[[bytes], bytes]:
    """What makes a whole, upright JPEG of the camera's bytes; it raises JpegError."""
    if capture.pixel_format != "YUYV":
        mender = _JpegRepairer()
        if orientation.identity:
            return mender.mended
        return lambda data: orientation.jpeg(mender.mended(data))

    # 30 MB and, on a Zero 2 W, a second that a camera with JPEGs of its own does not cost
    import cv2
    import numpy as np

    rows, columns = capture.height, capture.width
    row_bytes = capture.row_bytes or columns * 2  # a driver that leaves it to us

    def encode(data: bytes) -> bytes:
        if len(data) < rows * row_bytes:
            raise JpegError(f"it has {len(data)} bytes, not {rows * row_bytes}")
        padded = np.frombuffer(data, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
        yuyv = padded[:, : columns * 2].reshape(rows, columns, 2)
        return orientation.encode(np.asarray(cv2.cvtColor(yuyv, cv2.COLOR_YUV2BGR_YUY2), np.uint8))

    return encode


class _JpegRepairer:
    """Makes whole JPEGs of what a camera gives.

    A picture without its end marker was cut short, except from a camera that mostly leaves it out: a C920 on a Pi 5
    was down to one frame a second in µStreamer (its issue 313).
    """

    def __init__(self) -> None:
        self._endless = 0  # how many more pictures came without it than with it, lately

    def mended(self, data: bytes) -> bytes:
        """The whole JPEG in *data*; JpegError without one."""
        try:
            picture = jpeg.repair(data)
        except JpegError:
            picture = jpeg.repair(data, end_required=False)
            self._endless = min(self._endless + 1, _ENDLESS_BY_HABIT)
            if self._endless < _ENDLESS_BY_HABIT:
                raise
            return picture
        if self._endless:
            self._endless -= 1
        return picture


def _nodes(dev: Path, sysfs: Path) -> list[Path]:
    """The nodes in *dev* of the video devices in *sysfs*, by their numbers."""
    names = (path.name for path in sysfs.glob("video*") if path.name[5:].isdecimal())
    return [dev / name for name in sorted(names, key=lambda name: int(name[5:]))]


def _lasting_name(node: Path, dev: Path) -> Path:
    """The link to *node* that is named after the camera's serial number, else *node* itself."""
    links = sorted((dev / "v4l" / "by-id").glob("*"))
    return next((link for link in links if link.resolve() == node.resolve()), node)


def explain(error: OSError, path: Path) -> SourceError:
    """The SourceError for what the kernel says of the camera at *path*."""
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return SourceError(f"No permission to open {path}", Cause.PERMISSION, VIDEO_GROUP_HINT)
        case errno.EBUSY:
            return SourceError(f"Another program uses {path}", Cause.BUSY, f"`sudo fuser {path}` tells which")
        case errno.ENOENT | errno.ENOTDIR | errno.ENXIO:
            return SourceError(f"There is no camera at {path}", Cause.MISSING, f"Plug it in. {_LIST_HINT}")
        case errno.ENODEV:
            return SourceError(f"The camera was unplugged ({path})", Cause.LOST, "Plug it in again")
        case errno.ENOTTY | errno.EISDIR:
            return SourceError(f"{path} is no camera", Cause.SETTINGS, _LIST_HINT)
        case errno.ENOSPC:
            return SourceError(
                f"The USB bus has no room for the pictures of {path}",
                Cause.SETTINGS,
                "Lower video.width, video.height or video.framerate, or plug it in apart from other cameras",
            )
    return SourceError(f"The camera failed: {error.strerror} ({path})", Cause.LOST, "Check its cable and its power")
