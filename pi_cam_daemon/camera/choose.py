"""Creates the source that the configuration asks for.

Each kind's module is imported only if it is needed: OpenCV, TLS and videodev2 cost a Pi Zero seconds and megabytes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pi_cam_daemon.camera.source import Commands, Sink, Source, Stop
from pi_cam_daemon.config.schema import CameraConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.system import machine

if TYPE_CHECKING:
    from pi_cam_daemon.camera.csi import CsiSource

# interval of the search for a camera while the test picture is shown
_LOOK_SECONDS = 3.0
# causes for which `auto` finds no camera; the first one of them is told
_TELLING = [Cause.PERMISSION, Cause.BROKEN, Cause.BUSY, Cause.SETTINGS, *Cause]


class Choice(NamedTuple):
    """A source, and the *reason* why `auto` chose it.

    *stands_in_for* is the error that keeps `auto` from using a camera, if the source is the test picture in its place.
    """

    source: Source
    reason: str = ""
    stands_in_for: SourceError | None = None


def choose(config: CameraConfig) -> Choice:
    """Return the source that *config* asks for."""
    return _auto(config) if config.kind == "auto" else Choice(_build(config.kind, config))


def _build(kind: str, config: CameraConfig) -> Source:
    match kind:
        case "csi":
            return _csi(config)
        case "usb":
            from pi_cam_daemon.camera.usb import UsbSource

            return UsbSource(config.video, config.usb, config.small, settings=config.settings("usb"))
        case "upstream":
            from pi_cam_daemon.camera.upstream import UpstreamSource

            return UpstreamSource(config.video, config.upstream, config.small)
    return _test_picture(config)


def _csi(config: CameraConfig) -> CsiSource:
    from pi_cam_daemon.camera.csi import CsiSource

    return CsiSource(config.video, config.csi, config.small, config.settings("csi"))


def _test_picture(config: CameraConfig, notice: str = "") -> Source:
    from pi_cam_daemon.camera.pattern import PatternSource

    return PatternSource(config.video, config.small, notice)


def _auto(config: CameraConfig) -> Choice:
    """Return the CSI camera, else a USB camera, else the test picture until there is a camera."""
    from pi_cam_daemon.camera import usb_cameras

    missing: dict[str, SourceError] = {}
    nodes = _nodes()
    try:
        source = _csi(config)
        source.look()
        return Choice(source, "picamera2 finds a CSI camera")
    except SourceError as error:
        missing["CSI"] = error
    try:
        camera = usb_cameras.find_camera(config.usb.device)
        return Choice(_build("usb", config), f"the USB camera {camera}: {missing['CSI'].message}")
    except SourceError as error:
        missing["USB"] = error
    why = _together(missing)

    def found() -> str:
        """Return the camera that has appeared, or what may be one; "" if nothing has."""
        with contextlib.suppress(SourceError):
            return str(usb_cameras.find_camera(config.usb.device))
        # libcamera looks once in a process, so another process has to look
        return ", ".join(sorted({node for node, *_ in _nodes() - nodes}))

    return Choice(_Stopgap(_test_picture(config, why.message), found), stands_in_for=why)


def _nodes() -> set[tuple[str, int, int]]:
    """Return the device nodes that a camera may have, with mode and group: udev sets these a moment later."""
    nodes = set()
    for pattern in ("media*", "v4l-subdev*", "video*"):
        for path in Path("/dev").glob(pattern):
            with contextlib.suppress(OSError):
                status = path.stat()
                nodes.add((str(path), status.st_mode, status.st_gid))
    return nodes


def _together(errors: dict[str, SourceError]) -> SourceError:
    """Return one error for the *errors* of several kinds, with the cause that says most about what has to be done."""
    message = ". ".join(error.message for error in errors.values())
    cause = min((error.cause for error in errors.values()), key=_TELLING.index)
    told = list(errors.items())
    if not machine.model():  # only a Pi has the connector of a CSI camera
        told.reverse()
    values: dict[str, str] = {}
    for _, error in reversed(told):  # of two values with the same name that of the first hint stays
        values |= error.values if error.cause is cause else {}
    hints = [f"For a {kind} camera: {error.hint}" for kind, error in told]
    return SourceError(message, cause, ". ".join(hints), **values)


class _Stopgap:
    """Delivers the test *picture* until *find* finds a camera; then SourceError, and the next process uses it."""

    def __init__(self, picture: Source, find: Callable[[], str]) -> None:
        self._picture = picture
        self._find = find

    def run(self, sink: Sink, commands: Commands) -> None:
        lookout = _Lookout(sink, commands, self._find)
        self._picture.run(lookout, commands)
        if lookout.found:
            raise SourceError(f"{lookout.found} is there now", Cause.STARTING, camera=lookout.found)


class _Lookout:
    """Passes pictures on and searches for a camera meanwhile; stops the pictures once there is one."""

    def __init__(self, sink: Sink, commands: Commands, find: Callable[[], str]) -> None:
        self.found = ""
        self.opened, self.controls, self.still, self.unusable = sink.opened, sink.controls, sink.still, sink.unusable
        self.claim_small, self.small = sink.claim_small, sink.small
        self.claim_look, self.look = sink.claim_look, sink.look
        self._sink = sink
        self._commands = commands
        self._find = find
        self._next_look = 0.0

    @property
    def wanted(self) -> bool:
        return self._sink.wanted

    @property
    def quiet_seconds(self) -> float:
        return self._sink.quiet_seconds

    def frame(self, jpeg: bytes | memoryview, captured_ns: int) -> None:
        self._sink.frame(jpeg, captured_ns)
        self._look()

    def passed(self, count: int = 1) -> None:
        self._sink.passed(count)
        self._look()

    def _look(self) -> None:
        now = time.monotonic()
        if self.found or now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        self.found = self._find()
        if self.found:
            self._commands.put(Stop())
