"""What a camera is to the rest of the program, and the only table from kind to module.

A source knows neither HTTP nor the hub; it runs in the camera process, in one blocking call.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pi_cam_daemon.config import CameraConfig
from pi_cam_daemon.messages import CameraInfo as CameraInfo
from pi_cam_daemon.messages import Report
from pi_cam_daemon.messages import SetControls as SetControls
from pi_cam_daemon.messages import Still as Still


@dataclass(frozen=True)
class Stop:
    """Close the camera and return from `run`."""


@dataclass(frozen=True)
class TakeStill:
    """Deliver one picture of the sensor's full size; the stream may pause for it."""

    number: int


Command = Stop | SetControls | TakeStill
Commands = queue.SimpleQueue[Command]


VIDEO_GROUP_HINT = "The user has to be in the group `video`: sudo usermod -aG video USER, then log in again"


def next_command(commands: Commands) -> Command | None:
    """The next command that has come, None without one. Never waits."""
    return None if commands.empty() else commands.get()


class Sink(Protocol):
    """Where a source delivers. No method ever blocks or raises; any thread may call them."""

    def opened(self, info: CameraInfo) -> None:
        """The camera is open and about to deliver."""

    def controls(self, report: Report) -> None:
        """What can be set, once the camera is open, and the answer to each SetControls."""

    def still(self, still: Still) -> None:
        """The answer to each TakeStill."""

    def frame(self, jpeg: bytes, captured_ns: int) -> None:
        """One whole, upright JPEG, given away for good; *captured_ns* is CLOCK_MONOTONIC in nanoseconds."""

    @property
    def wanted(self) -> bool:
        """Whether the next frame is going anywhere. If not, a source may save its work and say `passed`."""

    def passed(self) -> None:
        """One more frame was captured, and left where it was because it is not wanted."""


class Source(Protocol):
    """A camera, or something that behaves like one."""

    def run(self, sink: Sink, commands: Commands) -> None:
        """Deliver frames to *sink* until a Stop comes out of *commands*; then close the camera and return.

        Opens and closes the camera in this one call and can be called again afterwards. Never retries:
        raises SourceError when the camera is missing, refuses its settings or is lost.
        """


def _csi(config: CameraConfig) -> Source:
    from pi_cam_daemon.sources.csi import CsiSource

    return CsiSource(config.video, config.csi, config.settings("csi"))


def _usb(config: CameraConfig) -> Source:
    from pi_cam_daemon.sources.usb import UsbSource

    return UsbSource(config.video, config.usb, settings=config.settings("usb"))


def _upstream(config: CameraConfig) -> Source:
    from pi_cam_daemon.sources.upstream import UpstreamSource

    return UpstreamSource(config.video, config.upstream)


def _pattern(config: CameraConfig) -> Source:
    from pi_cam_daemon.sources.pattern import PatternSource

    return PatternSource(config.video)


_KINDS: dict[str, Callable[[CameraConfig], Source]] = {
    "csi": _csi,
    "usb": _usb,
    "upstream": _upstream,
    "pattern": _pattern,
}


def create(config: CameraConfig) -> tuple[Source, str]:
    """The source that *config* asks for, and why it was taken (empty unless `auto` decided)."""
    if config.kind != "auto":
        return _KINDS[config.kind](config), ""
    from pi_cam_daemon.sources.auto import choose

    return choose(config)
