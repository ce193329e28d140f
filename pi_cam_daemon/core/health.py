"""The state of the camera, derived from observations: pure functions without a clock or threads of their own."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pi_cam_daemon.config import kinds
from pi_cam_daemon.config.schema import SourceConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.messages import CameraInfo
from pi_cam_daemon.ipc.pace import Pace

# An unwatched camera reports once a second; a report may be late, and one may be lost to a busy machine.
_UNWATCHED_SECONDS = 3.0
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
    """The reason why the last camera process ended or is being ended; dropped at the next frame.

    *values* are those of a SourceError.
    """

    state: State
    cause: Cause
    message: str
    hint: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: SourceError, before: str = "") -> Failure:
        """Return the failure for an *error* of the camera process; *before* begins its message."""
        return cls(State.NO_CAMERA, error.cause, before + error.message, error.hint, error.values)


@dataclass(frozen=True)
class CameraStatus:
    """A snapshot of the camera. *info* is the camera's own report, None before it was opened.

    *rate* is measured in frames a second, 0 while it is unknown. *period* is the time between two frames in seconds:
    the announced one, or *measured* if that is longer. *measured* is None while it is unknown.
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
    period: float
    measured: float | None
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
    def live(self) -> bool:
        """Return whether the newest picture shows what the camera sees now: the next one is not overdue."""
        stands_in = self.state is State.NO_CAMERA and self.stands_in
        return (self.state is State.STREAMING or stands_in) and not self.takes_still

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
    """Observations for `judge`. *pictures*: the process has given frames. *silent_at*: when it is stalled.

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


class Deadlines(NamedTuple):
    """When a camera process without a new picture is stalled, and when it is started again (CLOCK_MONOTONIC)."""

    silent_at: float
    restart_at: float


def deadlines(
    limits: SourceConfig,
    pace: Pace,
    started_at: float,
    progressed_at: float | None = None,
    stall_grace_until: float = 0.0,
    watched_since: float = 0.0,
) -> Deadlines:
    """Return the deadlines of a camera process with the measured *pace*. Times are CLOCK_MONOTONIC in seconds.

    Its last picture came at *progressed_at*, None before the first. Until *stall_grace_until* it takes a still and may
    be silent. It reports every picture since *watched_since*, infinity if it reports once a second. While the pace is
    not measured, the next picture has as long as the first one.
    """
    first = limits.start_timeout_seconds + 2 * pace.period
    if progressed_at is None:
        return Deadlines(started_at + first, started_at + first)
    restart = max(limits.stall_timeout_seconds, pace.lost_seconds)
    silent = min(pace.silent_seconds, restart)
    if pace.measured is None:
        silent = restart = max(first, restart)
    reported_at = progressed_at + _UNWATCHED_SECONDS

    def until(seconds: float) -> float:
        unwatched = min(reported_at, watched_since + seconds)
        return max(progressed_at + seconds, unwatched, stall_grace_until)

    return Deadlines(until(silent), until(restart))


def needs_reboot(now: float, well_at: float, cause: Cause, kind: str, after_seconds: float) -> bool:
    """Return whether only a reboot may still help a camera of *kind* that was last well at *well_at*.

    True after *after_seconds*; 0 means never. CLOCK_MONOTONIC begins at boot, so the machine has been up for at least
    that time: reboots that do not help are that far apart.
    """
    if not after_seconds or now - well_at < after_seconds or cause not in _REBOOT_MAY_CURE:
        return False
    return cause is Cause.WEDGED or kinds.of(kind).has_driver
