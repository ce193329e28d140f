"""What is known of the camera at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pi_cam_daemon.errors import Cause
from pi_cam_daemon.health import Failure, State
from pi_cam_daemon.messages import CameraInfo


@dataclass(frozen=True)
class CameraStatus:
    """What is known of the camera now. *info* is the camera's own word, None before it was opened.

    *captured* counts the frames of all its processes so far, *restarts* how often one was started again, by cause.
    *needs_reboot* tells that nothing else has helped for as long as the owner set, *takes_still* that a picture of full
    size is being taken.
    """

    state: State
    failure: Failure | None
    info: CameraInfo | None
    captured: int
    rate: float
    pid: int | None
    starts: int
    restarts: Mapping[Cause, int]
    since: float
    needs_reboot: bool
    takes_still: bool

    @property
    def framerate(self) -> float:
        """Frames a second as the camera announced them."""
        return framerate(self.info)

    @property
    def cause(self) -> Cause:
        """Why there is no picture, for the moments when there is none."""
        if self.failure and self.state is not State.STREAMING:
            return self.failure.cause
        if self.state in (State.WEDGED, State.STALLED):
            return Cause(self.state.value)
        if self.state is not State.STREAMING:
            return Cause.STARTING
        return Cause.STILL if self.takes_still else Cause.STALLED


def framerate(info: CameraInfo | None) -> float:
    """Frames a second as the camera announced them, 1 before it did."""
    return info.framerate if info else 1.0
