"""The state of the camera, derived from observations: pure functions without a clock or threads of their own."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

from pi_cam_daemon.config import kinds
from pi_cam_daemon.config.schema import SourceConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.messages import CameraInfo

# A reboot may cure these. It cures no camera that is missing, in use, forbidden or wrongly configured.
_REBOOT_MAY_CURE = frozenset({Cause.LOST, Cause.CRASHED, Cause.STALLED, Cause.WEDGED})


class State(enum.StrEnum):
    """The state of the camera, in the words of /state, /healthz and the status of the unit."""

    STARTING = "starting"
    STREAMING = "streaming"
    IDLE = "idle"
    NO_CAMERA = "no-camera"
    STALLED = "stalled"
    WEDGED = "wedged"

    @property
    def ok(self) -> bool:
        """Return whether this is a healthy state: the camera gives frames, or nobody needs any."""
        return self in (State.STREAMING, State.IDLE)


@dataclass(frozen=True)
class Failure:
    """The reason why the last camera process ended or is being ended; dropped at the next frame."""

    state: State
    cause: Cause
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: SourceError, before: str = "") -> Failure:
        """Return the failure for an *error* of the camera process; *before* begins its message."""
        return cls(State.NO_CAMERA, error.cause, before + error.message, error.hint)


@dataclass(frozen=True)
class CameraStatus:
    """A snapshot of the camera. *info* is the camera's own report, None before it was opened.

    *captured* counts the frames and *starts* the starts of all its processes, *restarts* the restarts by cause. *since*
    is when *state* began (CLOCK_MONOTONIC). *needs_reboot*: restarts have not helped for the configured time.
    *stands_in*: the test picture is shown in place of a camera. *last* is the kind that gave pictures last, except for
    that; it is remembered over restarts, and "" if there was none. *unusable* says why the newest pictures cannot be
    used, "" if they can.
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
    stands_in: bool
    unusable: str
    last: str

    @property
    def framerate(self) -> float:
        """Return the announced rate in frames a second, 1 while it is unknown."""
        return self.info.framerate if self.info else 1.0

    @property
    def cause(self) -> Cause:
        """Return why there is no new frame, if there is none."""
        if self.state is State.STREAMING:
            return Cause.STILL if self.takes_still else Cause.STALLED
        if self.failure:
            return self.failure.cause
        return Cause(self.state.value) if self.state in (State.WEDGED, State.STALLED) else Cause.STARTING


@dataclass(frozen=True)
class Facts:
    """Observations for `judge`. *pictures*: the process has given frames. *silent_at*: when it counts as stalled.

    *stands_in*: they show the test picture in place of a camera.
    """

    wanted: bool
    running: bool
    pictures: bool = False
    stands_in: bool = False
    silent_at: float = math.inf
    failure: Failure | None = None
    unkillable: bool = False


def judge(now: float, facts: Facts) -> State:
    """Return the state that follows from *facts* at *now* (CLOCK_MONOTONIC)."""
    if facts.unkillable:
        return State.WEDGED
    if not facts.wanted and not facts.running:
        return State.IDLE
    if now > facts.silent_at:
        return State.STALLED
    if facts.pictures and not facts.stands_in:
        return State.STREAMING
    return facts.failure.state if facts.failure else State.STARTING


def silent_at(
    limits: SourceConfig,
    rate: float,
    started_at: float,
    progressed_at: float | None = None,
    stall_grace_until: float = 0.0,
) -> float:
    """Return when a camera process of *rate* frames a second counts as stalled. Times are CLOCK_MONOTONIC in seconds.

    Its last frame came at *progressed_at*, None before the first. Until *stall_grace_until* it takes a still and may be
    silent. A pause of up to ten frame periods is no stall, because exposures may be long.
    """
    if progressed_at is None:
        return started_at + limits.start_timeout_seconds + 2 / rate
    return max(progressed_at + max(limits.stall_timeout_seconds, 10 / rate), stall_grace_until)


def needs_reboot(now: float, well_at: float, cause: Cause, kind: str, after_seconds: float) -> bool:
    """Return whether only a reboot may still help a camera of *kind* that was last well at *well_at*.

    True after *after_seconds*; 0 means never. CLOCK_MONOTONIC begins at boot, so the machine has been up for at least
    that time: reboots that do not help are that far apart.
    """
    if not after_seconds or now - well_at < after_seconds or cause not in _REBOOT_MAY_CURE:
        return False
    return cause is Cause.WEDGED or kinds.of(kind).has_driver
