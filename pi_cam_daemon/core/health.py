"""Pure judgement: from what was observed to one state word. The supervisor acts on it, /healthz and systemd tell it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

from pi_cam_daemon.config import kinds
from pi_cam_daemon.config.schema import SourceConfig
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.ipc.messages import CameraInfo

# What a reboot may cure. A camera that is not there, not permitted, badly set or in use it does not.
_REBOOT_MAY_CURE = frozenset({Cause.LOST, Cause.CRASHED, Cause.STALLED, Cause.WEDGED})


class State(enum.StrEnum):
    """What the camera is doing, as /state, /healthz and the unit's status say it."""

    STARTING = "starting"
    STREAMING = "streaming"
    IDLE = "idle"
    NO_CAMERA = "no-camera"
    STALLED = "stalled"
    WEDGED = "wedged"

    @property
    def ok(self) -> bool:
        """Whether this is how it should be: pictures, or sleep by design."""
        return self in (State.STREAMING, State.IDLE)


@dataclass(frozen=True)
class Failure:
    """Why the last camera process ended or is being ended; forgotten with the next picture."""

    state: State
    cause: Cause
    message: str
    hint: str = ""


@dataclass(frozen=True)
class CameraStatus:
    """The camera at one moment. *info* is the camera's own word, None before it was opened.

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
        """Return the frames a second that the camera announced, 1 before it did."""
        return self.info.framerate if self.info else 1.0

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


@dataclass(frozen=True)
class Facts:
    """Input of `judge`. *pictures* and *silent_at* are those of the camera process that runs."""

    wanted: bool
    running: bool
    pictures: bool = False
    silent_at: float = math.inf
    failure: Failure | None = None
    unkillable: bool = False


def judge(now: float, facts: Facts) -> State:
    """Return the one state that these facts add up to."""
    if facts.unkillable:
        return State.WEDGED
    if not facts.wanted and not facts.running:
        return State.IDLE
    if now > facts.silent_at:
        return State.STALLED
    if facts.pictures:
        return State.STREAMING
    return facts.failure.state if facts.failure else State.STARTING


def silent_at(
    limits: SourceConfig,
    rate: float,
    started_at: float,
    progressed_at: float | None = None,
    stall_grace_until: float = 0.0,
) -> float:
    """Return when a camera process of *rate* frames a second becomes too silent. Times are CLOCK_MONOTONIC in seconds.

    It captured its last frame at *progressed_at*, None before its first, and takes a still until *stall_grace_until*.
    Long shutters exist: ten frame periods are no stall.
    """
    if progressed_at is None:
        return started_at + limits.start_timeout_seconds + 2 / rate
    return max(progressed_at + max(limits.stall_timeout_seconds, 10 / rate), stall_grace_until)


def needs_reboot(now: float, well_at: float, cause: Cause, kind: str, after_seconds: float) -> bool:
    """Whether a camera of *kind* that was last well at *well_at* is past everything but a reboot; 0 is never.

    CLOCK_MONOTONIC begins with the boot, so a machine has always been up for *after_seconds* when this comes true:
    reboots that do not help are at least that far apart.
    """
    if not after_seconds or now - well_at < after_seconds or cause not in _REBOOT_MAY_CURE:
        return False
    return cause is Cause.WEDGED or kinds.of(kind).has_driver
