"""Creates the source that the configuration asks for.

Each kind's module is imported only if it is needed: OpenCV, TLS and videodev2 cost a Pi Zero seconds and megabytes.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable

from pi_cam_daemon.camera.source import Commands, Sink, Source, Stop
from pi_cam_daemon.config.schema import CameraConfig
from pi_cam_daemon.errors import Cause, SourceError

# interval of the search for a USB camera while the test picture is shown
_LOOK_SECONDS = 3.0


def choose(config: CameraConfig) -> tuple[Source, str]:
    """Return the source that *config* asks for, and the reason for the choice if source.kind is "auto"."""
    return _auto(config) if config.kind == "auto" else (_build(config.kind, config), "")


def _build(kind: str, config: CameraConfig) -> Source:
    match kind:
        case "csi":
            from pi_cam_daemon.camera.csi import CsiSource

            return CsiSource(config.video, config.csi, config.settings("csi"))
        case "usb":
            from pi_cam_daemon.camera.usb import UsbSource

            return UsbSource(config.video, config.usb, settings=config.settings("usb"))
        case "upstream":
            from pi_cam_daemon.camera.upstream import UpstreamSource

            return UpstreamSource(config.video, config.upstream)
    from pi_cam_daemon.camera.pattern import PatternSource

    return PatternSource(config.video)


def _auto(config: CameraConfig) -> tuple[Source, str]:
    """Return the CSI camera, else a USB camera, else the test picture until there is a USB camera."""
    from pi_cam_daemon.camera import csi, usb

    try:
        if csi.cameras():
            return _build("csi", config), "picamera2 finds a CSI camera"
        why = ["picamera2 finds no CSI camera"]
    except SourceError as error:
        why = [error.message, error.hint]
    find = functools.partial(usb.find_camera, config.usb.device)
    try:
        camera = find()
        return _build("usb", config), f"the USB camera {camera}: {why[0]}"
    except SourceError as error:
        why += [error.message, error.hint]
    return _Stopgap(_build("pattern", config), find), f"a test picture: {'. '.join(filter(None, why))}"


class _Stopgap:
    """Delivers the test *picture* until *find* finds a USB camera; then SourceError, and the next process uses it."""

    def __init__(self, picture: Source, find: Callable[[], object]) -> None:
        self._picture = picture
        self._find = find

    def run(self, sink: Sink, commands: Commands) -> None:
        lookout = _Lookout(sink, commands, self._find)
        self._picture.run(lookout, commands)
        if lookout.found:
            raise SourceError(f"{lookout.found} is there now", Cause.STARTING)


class _Lookout:
    """Passes pictures on and searches for a USB camera meanwhile; stops the pictures once there is one."""

    def __init__(self, sink: Sink, commands: Commands, find: Callable[[], object]) -> None:
        self.found: object = None
        self.opened, self.controls, self.passed, self.still = sink.opened, sink.controls, sink.passed, sink.still
        self._sink = sink
        self._commands = commands
        self._find = find
        self._next_look = 0.0

    @property
    def wanted(self) -> bool:
        return self._sink.wanted

    def frame(self, jpeg: bytes, captured_ns: int) -> None:
        self._sink.frame(jpeg, captured_ns)
        now = time.monotonic()
        if self.found or now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        with contextlib.suppress(SourceError):
            self.found = self._find()
            self._commands.put(Stop())
