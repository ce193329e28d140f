"""Source for USB cameras and other V4L2 cameras: takes their JPEGs, or encodes their raw pictures."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pi_cam_daemon.camera import raw_pictures, v4l2
from pi_cam_daemon.camera.source import (
    VIDEO_GROUP_HINT,
    BadFrameCounter,
    Commands,
    Sink,
    Stop,
    TakeStill,
    first_of,
    next_command,
)
from pi_cam_daemon.camera.usb_controls import UsbControls
from pi_cam_daemon.config.schema import UsbConfig, VideoConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import Cause, JpegError, SourceError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.known import KnownHeader
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.ipc.messages import CameraInfo, Still

log = logging.getLogger(__name__)

DEV = Path("/dev")
SYSFS = Path("/sys/class/video4linux")

# The kernel has two codes for JPEGs: UVC cameras use MJPG, drivers of older cameras JPEG.
_JPEGS = ("MJPG", "JPEG")
_FORMATS = {"MJPG": _JPEGS, "YUYV": ("YUYV",), "auto": (*_JPEGS, *raw_pictures.FORMATS)}
# interval of the check for commands while no picture arrives
_CHECK_MS = 200
# A camera needs about this long to adjust its exposure after a change of size.
_SETTLE_SECONDS = 1.0
# the server's deadline is a little longer (stills.py)
_STILL_SECONDS = 8.0
# after this many more pictures without an end marker than with one, the camera is assumed to omit it always
_MISSING_END_LIMIT = 10

_LIST_HINT = "`pi-cam-daemon list-cameras` shows those that can be used"

_Mode = tuple[str, int, int]  # pixel format, width, height


@dataclass(frozen=True)
class Camera:
    """A USB camera, or another one with a V4L2 node. *path* is a link that stays with it, if it has one.

    The *node* may change.
    """

    path: Path
    node: Path
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.path})"


def cameras(dev: Path = DEV, sysfs: Path = SYSFS) -> list[Camera]:
    """Return the cameras: those on USB first, grey ones last, otherwise in the kernel's order.

    SourceError if none is found, but a node that may not be opened, or one whose pictures cannot be used.
    """
    found: dict[Path, v4l2.Device] = {}
    refusal = None
    numbers = (path.name[5:] for path in sysfs.glob("video*"))
    for number in sorted(int(number) for number in numbers if number.isdecimal()):
        node = dev / f"video{number}"
        try:
            device = v4l2.device(node)
        except PermissionError as error:
            refusal = explain(error, node)
        except OSError as error:  # it was just unplugged, or its driver is broken; others may work
            log.debug("%s: %s", node, error.strerror)
        else:
            if device.part_of_board or not (device.captures or device.planes):
                continue
            if set(_FORMATS["auto"]).isdisjoint(device.pixel_formats):  # such as a depth camera's, which is no picture
                refusal = refusal or _useless(Camera(node, node, device.name), device)
            else:
                found[node] = device
    if refusal and not found:
        raise refusal
    # a depth or face camera has a grey infrared picture beside its coloured one
    nodes = sorted(found, key=lambda node: (found[node].pixel_formats == ("GREY",), not found[node].on_usb))
    return [Camera(_stable_path(node, dev, found), node, found[node].name) for node in nodes]


def find_camera(wanted: str, dev: Path = DEV, sysfs: Path = SYSFS) -> Camera:
    """Return the camera at the path *wanted*, or the first one if that is empty; SourceError if there is none."""
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
        if device.planes:
            raise _useless(Camera(path, path, device.name), device)
        raise SourceError(f"{path} ({device.name}) is no camera", Cause.SETTINGS, _LIST_HINT)
    node = path.resolve()
    if not path.is_symlink():
        with contextlib.suppress(SourceError):
            if found := [camera for camera in cameras(dev, sysfs) if camera.node.resolve() == node]:
                return found[0]
        path = _stable_path(path, dev, {path: device})
    return Camera(path, node, device.name)


def _useless(camera: Camera, device: v4l2.Device, wanted: str = "auto") -> SourceError:
    """Return the SourceError for a *camera* that offers none of the formats that are *wanted*."""
    if device.planes:
        return SourceError(
            f"{camera} has only V4L2's multi-planar API, which is not supported", Cause.SETTINGS, _LIST_HINT
        )
    has = ", ".join(name.strip() for name in device.pixel_formats) or "nothing"
    if wanted != "auto":
        return SourceError(f"{camera} has no {wanted}", Cause.SETTINGS, f"It has {has}")
    hint = f"It has {has}; usable are {', '.join(_FORMATS['auto'])}"
    return SourceError(f"{camera} has no pictures in a format that can be used", Cause.SETTINGS, hint)


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
                    still = self._take_still(fd, camera, largest, number)
                    capture = self._configure(fd, camera)
                    sink.still(still)
        except SourceError:
            raise
        except OSError as error:
            raise explain(error, camera.path) from error

    def _configure(self, fd: int, camera: Camera) -> v4l2.Capture:
        """Set the camera to the stream's format, size and rate; SourceError if it lacks the format."""
        video = self._video
        device = v4l2.describe(fd)
        wanted = self._usb.pixel_format
        for name in _FORMATS[wanted]:
            if name in device.pixel_formats:
                capture = v4l2.Capture(fd, name, video.width, video.height, video.framerate)
                if capture.pixel_format == name:
                    return capture
        raise _useless(camera, device, wanted)

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
        encoder = "the camera's own JPEG" if capture.pixel_format in _JPEGS else "software JPEG (OpenCV)"
        return CameraInfo("usb", str(camera), *size, rate, capture.pixel_format, encoder)

    def _largest(self, fd: int, capture: v4l2.Capture) -> _Mode:
        """Return the mode for stills: the largest size of the formats that may be used, at least the stream's."""
        offered = v4l2.pixel_formats(fd)
        names = [name for name in _FORMATS[self._usb.pixel_format] if name in offered]
        modes = [(name, *v4l2.largest_size(fd, name, jpeg.MOST_PIXELS)) for name in names]
        # of two formats with the same size, max() returns the first, which is the better one
        streamed: _Mode = capture.pixel_format, capture.width, capture.height
        return max(streamed, *modes, key=lambda mode: mode[1] * mode[2])

    def _take_still(self, fd: int, camera: Camera, mode: _Mode, number: int) -> Still:
        """Take the still *number* in *mode*. If the camera fails at a mode that it listed, the still says so."""
        try:
            capture = v4l2.Capture(fd, *mode, self._video.framerate)
            with capture.streaming():
                return self._first_settled(camera, capture, number)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise
            return Still(number, refused=f"No picture of full size: {explain(error, camera.path).message}")

    def _first_settled(self, camera: Camera, capture: v4l2.Capture, number: int) -> Still:
        """Return the first valid picture after _SETTLE_SECONDS as the still *number*."""
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
        self, camera: Camera, capture: v4l2.Capture, mode: _Mode, controls: UsbControls, sink: Sink, commands: Commands
    ) -> int | None:
        """Deliver frames. Return the number of a still that needs *mode*, or None after a Stop."""
        orientation = Orientation.of(self._video)
        upright_jpeg = _converter(capture, orientation)
        bad_frames = BadFrameCounter(camera.path, sink)
        captured_ns = time.monotonic_ns()
        still = None
        while not isinstance(command := next_command(commands), Stop):
            if isinstance(command, TakeStill):
                if (capture.width, capture.height) != mode[1:]:
                    return command.number
                still = command.number  # the stream has the full size: its next picture is the still
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
                    raise JpegError("the driver reports it as damaged")
                data = upright_jpeg(picture.data)
            except JpegError as error:
                bad_frames.add(str(error))
                continue
            now_ns = time.monotonic_ns()
            # some drivers give no timestamp, or one of another clock
            captured_ns = picture.timestamp_ns if captured_ns < picture.timestamp_ns <= now_ns else now_ns
            if still is not None:
                sink.still(_still(still, data, orientation, camera, captured_ns))
                still = None
            sink.frame(data, captured_ns)
        return None


def _still(number: int, upright: bytes, orientation: Orientation, camera: Camera, captured_ns: int) -> Still:
    return Still(number, orientation.described(upright, Photo(captured_ns, camera.name)), captured_ns)


def _converter(capture: v4l2.Capture, orientation: Orientation) -> Callable[[bytes], bytes]:
    """Return a function that converts the camera's data to a whole, upright JPEG, or raises JpegError."""
    if capture.pixel_format in _JPEGS:
        repairer = _JpegRepairer()

        def upright(data: bytes) -> bytes:
            picture, mark = repairer.repair(data)
            return orientation.after(mark).jpeg(picture)

        return upright

    to_bgr = raw_pictures.to_bgr(capture.pixel_format, capture.width, capture.height, capture.row_bytes)
    return lambda data: orientation.encode(to_bgr(data))


class _JpegRepairer:
    """Repairs a camera's JPEGs. One without an end marker was cut short, unless the camera usually omits the marker.

    A C920 on a Pi 5 does (µStreamer's issue 313).
    """

    def __init__(self) -> None:
        self._known = KnownHeader()
        self._missing_ends = 0  # recent pictures without an end marker, minus those with one

    def repair(self, data: bytes) -> tuple[bytes, int]:
        """Return the whole JPEG in *data* and the orientation that its Exif asked for; JpegError if there is none."""
        try:
            picture, mark = self._known.repair(data), self._known.orientation
        except JpegError:
            picture, mark, _ = jpeg.repaired(data, end_required=False)
            self._missing_ends = min(self._missing_ends + 1, _MISSING_END_LIMIT)
            if self._missing_ends < _MISSING_END_LIMIT:
                raise
            return picture, mark
        if self._missing_ends:
            self._missing_ends -= 1
        return picture, mark


def _stable_path(node: Path, dev: Path, cameras: Mapping[Path, v4l2.Device]) -> Path:
    """Return udev's link to *node* with the camera's serial number, else that with its USB port, else *node* itself.

    *cameras* are all that there are. Those of one model without a serial number, or with the same one, share ONE link,
    which leads to any of them. So it is not used if another camera of the same name has none.
    """
    links = {link: link.resolve() for kind in ("by-id", "by-path") for link in sorted((dev / "v4l" / kind).glob("*"))}
    by_id = {target for link, target in links.items() if link.parent.name == "by-id"}
    twins = [other for other, device in cameras.items() if device.on_usb and device.name == cameras[node].name]
    shared = any(twin.resolve() not in by_id for twin in twins)
    own = [link for link, target in links.items() if target == node.resolve()]
    own.sort(key=lambda link: (link.parent.name == "by-id") is shared)
    return own[0] if own else node


def explain(error: OSError, path: Path) -> SourceError:
    """Return the SourceError for the kernel's *error* about the camera at *path*."""
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
            hint = "Lower video.width, video.height or video.framerate, or use another USB bus than the other cameras"
            return SourceError(f"The USB bus has no bandwidth left for {path}", Cause.SETTINGS, hint)
    return SourceError(f"The camera failed: {error.strerror} ({path})", Cause.LOST, "Check its cable and its power")
