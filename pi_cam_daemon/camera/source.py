"""Interfaces of a source (a camera, or something that behaves like one) and of the sink that takes its pictures."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pi_cam_daemon.ipc.messages import CameraInfo, Report, SetControls, Still

if TYPE_CHECKING:
    from pi_cam_daemon.imaging.grey import Pixels

log = logging.getLogger(__name__)

VIDEO_GROUP_HINT = "The user has to be in the group `video`: `sudo usermod -aG video USER`, then log in again"
# least time between two log lines about bad pictures
_WARN_SECONDS = 60.0


@dataclass(frozen=True)
class Stop:
    """Close the camera and return from `run`."""


@dataclass(frozen=True)
class TakeStill:
    """Take one picture of the sensor's full size. The stream may pause meanwhile."""

    number: int


Command = Stop | SetControls | TakeStill
Commands = queue.SimpleQueue[Command | None]  # None ends a wait for a command


def next_command(commands: Commands, seconds: float = 0.0) -> Command | None:
    """Return the next command; None if none comes within *seconds*, or when somebody begins to watch."""
    if not seconds:
        return None if commands.empty() else commands.get()
    try:
        return commands.get(timeout=seconds)
    except queue.Empty:
        return None


def first_of(what: str, setting: str, choices: Sequence[str]) -> str:
    """Return a sentence that tells how to choose another camera, if there are several *choices*; else ""."""
    if len(choices) < 2:
        return ""
    return f"It is the first of {len(choices)} {what} cameras; choose with {setting}: {'; '.join(choices)}"


class Sink(Protocol):
    """Receives everything that a source delivers. No method blocks or raises; any thread may call it."""

    def opened(self, info: CameraInfo) -> None:
        """Report that the camera is open; frames follow."""

    def controls(self, report: Report) -> None:
        """Report the controls: once when the camera is open, and in answer to each SetControls."""

    def still(self, still: Still) -> None:
        """Answer a TakeStill."""

    def frame(self, jpeg: bytes | memoryview, captured_ns: int) -> None:
        """Take one whole, upright JPEG; *captured_ns* is CLOCK_MONOTONIC in nanoseconds.

        It is copied, so its memory may be used again after the call.
        """

    @property
    def wanted(self) -> bool:
        """True if the next frame will be sent. If it is False, a source may skip the frame and call `passed`."""

    def claim_small(self) -> bool:
        """Return True if a small frame is due. The caller then makes it; the next one is due a period later."""

    def small(self, jpeg: bytes, captured_ns: int) -> None:
        """Take the same picture as a small JPEG."""

    def claim_look(self) -> bool:
        """Return True if a look for motion is due, as `claim_small` does for a small frame."""

    def look(self, grey: Pixels, captured_ns: int, facts: tuple[float, ...]) -> None:
        """Look at the same picture, small, grey and upright; *facts* are the camera's exposure and the like."""

    @property
    def quiet_seconds(self) -> float:
        """Time until the next picture is wanted for anything if nobody begins to watch; 0 if one is wanted now."""

    def passed(self, count: int = 1) -> None:
        """Count frames that were captured and skipped."""

    def unusable(self, why: str) -> None:
        """Report why a picture of the camera cannot be used. It does not count as captured."""


class Source(Protocol):
    """A camera, or something that behaves like one."""

    def run(self, sink: Sink, commands: Commands) -> None:
        """Open the camera, deliver frames to *sink* until *commands* holds a Stop, and close the camera.

        SourceError if the camera is missing, refuses its settings or is lost. A later call may succeed.
        """


class BadFrameCounter:
    """Counts the bad pictures of the camera *name*, reports them to *sink*, and logs them once in _WARN_SECONDS."""

    def __init__(self, name: object, sink: Sink) -> None:
        self._name = name
        self._sink = sink
        self._count = 0
        self._next_warning = 0.0

    def add(self, why: object) -> None:
        """Count one more bad picture; *why* says what is wrong with it."""
        self._count += 1
        self._sink.unusable(str(why))
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _WARN_SECONDS
            log.warning("%s: %d bad pictures so far, the last one because %s", self._name, self._count, why)
