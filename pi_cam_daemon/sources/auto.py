"""`source.kind = "auto"`: the CSI camera, else a USB camera, else the test picture until there is one."""

from __future__ import annotations

import contextlib
import time

from pi_cam_daemon.config import CameraConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.sources import Commands, Sink, Source, Stop, csi, usb

# how often a USB camera is looked for while the test picture takes its place
_LOOK_SECONDS = 3.0


def choose(config: CameraConfig) -> tuple[Source, str]:
    """The best source there is for *config*, and why it was taken."""
    try:
        if csi.cameras():
            return csi.CsiSource(config.video, config.csi, config.settings("csi")), "picamera2 finds a CSI camera"
        why = ["picamera2 finds no CSI camera"]
    except SourceError as error:
        why = [error.message, error.hint]
    try:
        camera = usb.find_camera(config.usb.device)
        source = usb.UsbSource(config.video, config.usb, settings=config.settings("usb"))
        return source, f"the USB camera {camera}: {why[0]}"
    except SourceError as error:
        why += [error.message, error.hint]
    return _Stopgap(config), f"a test picture: {'. '.join(filter(None, why))}"


class _Stopgap:
    """The test picture until there is a USB camera: then SourceError, so that the next process takes that one."""

    def __init__(self, config: CameraConfig) -> None:
        self._config = config

    def run(self, sink: Sink, commands: Commands) -> None:
        from pi_cam_daemon.sources.pattern import PatternSource  # and with it OpenCV, which a camera does not need

        lookout = _Lookout(sink, commands, self._config.usb.device)
        PatternSource(self._config.video).run(lookout, commands)
        if lookout.found:
            raise SourceError(f"{lookout.found} is there now", Cause.STARTING)


class _Lookout:
    """Passes pictures on and looks for a USB camera now and then; stops the pictures when there is one."""

    def __init__(self, sink: Sink, commands: Commands, device: str) -> None:
        self.found: usb.Camera | None = None
        self.opened, self.controls, self.passed, self.still = sink.opened, sink.controls, sink.passed, sink.still
        self._sink = sink
        self._commands = commands
        self._device = device
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
            self.found = usb.find_camera(self._device)
            self._commands.put(Stop())
