"""The interface of a source: a camera, or something that behaves like one.

A source knows neither HTTP nor the hub; it runs in the camera process, in one blocking call.
"""

from __future__ import annotations

import logging
import queue
import time
from dataclasses import dataclass
from typing import Protocol

from pi_cam_daemon.ipc.messages import CameraInfo, Report, SetControls, Still

log = logging.getLogger(__name__)

VIDEO_GROUP_HINT = "The user has to be in the group `video`: sudo usermod -aG video USER, then log in again"
# how often bad pictures are worth a log line
_WARN_SECONDS = 60.0


@dataclass(frozen=True)
class Stop:
    """Close the camera and return from `run`."""


@dataclass(frozen=True)
class TakeStill:
    """Deliver one picture of the sensor's full size; the stream may pause for it."""

    number: int


Command = Stop | SetControls | TakeStill
Commands = queue.SimpleQueue[Command]


def next_command(commands: Commands) -> Command | None:
    """Return the next command, or None if there is none. Never waits."""
    return None if commands.empty() else commands.get()


class Sink(Protocol):
    """Takes what a source delivers. No method ever blocks or raises; any thread may call them."""

    def opened(self, info: CameraInfo) -> None:
        """The camera is open and about to deliver."""

    def controls(self, report: Report) -> None:
        """The controls, once the camera is open, and the answer to each SetControls."""

    def still(self, still: Still) -> None:
        """The answer to each TakeStill."""

    def frame(self, jpeg: bytes, captured_ns: int) -> None:
        """One whole, upright JPEG, given away for good; *captured_ns* is CLOCK_MONOTONIC in nanoseconds."""

    @property
    def wanted(self) -> bool:
        """True if the next frame will be sent. If not, a source may skip its work on it and call `passed`."""

    def passed(self) -> None:
        """One more frame was captured and skipped, because it is not wanted."""


class Source(Protocol):
    """A camera, or something that behaves like one."""

    def run(self, sink: Sink, commands: Commands) -> None:
        """Deliver frames to *sink* until a Stop comes out of *commands*; then close the camera and return.

        Opens and closes the camera in this one call and can be called again afterwards. Never retries:
        raises SourceError when the camera is missing, refuses its settings or is lost.
        """


class BadFrameCounter:
    """Counts the bad pictures of the camera called *name*, and logs the count now and then."""

    def __init__(self, name: object) -> None:
        self._name = name
        self._count = 0
        self._next_warning = 0.0

    def add(self, why: object) -> None:
        """Count one more bad picture; *why* says what is wrong with it."""
        self._count += 1
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _WARN_SECONDS
            log.warning("%s: %d bad pictures so far, the last one because %s", self._name, self._count, why)
