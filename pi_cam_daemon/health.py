"""Pure judgement: from what was observed to one state word. The supervisor acts on it, /healthz and systemd tell it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pi_cam_daemon import kinds
from pi_cam_daemon.errors import Cause

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
class Facts:
    """What was observed of the camera process. Times are CLOCK_MONOTONIC in seconds.

    *progressed_at* is when this process last captured a frame, None before its first; until *excused_until* none need
    come, for it takes a still. *act_by* is when the supervisor goes on by itself: starts a process, or is done with one
    that ends; None while one runs as it should.
    """

    wanted: bool
    running: bool
    started_at: float = 0.0
    progressed_at: float | None = None
    excused_until: float = 0.0
    failure: Failure | None = None
    unkillable: bool = False
    act_by: float | None = None


@dataclass(frozen=True)
class Limits:
    """How long a camera may be silent, in seconds: before its first frame, and between two."""

    start_seconds: float
    stall_seconds: float

    def at_rate(self, framerate: float) -> Limits:
        """The same limits for a camera of *framerate*: ten frame periods are no stall, long shutters exist."""
        return Limits(self.start_seconds + 2 / framerate, max(self.stall_seconds, 10 / framerate))


def judge(now: float, facts: Facts, limits: Limits) -> State:
    """The one state that these facts add up to."""
    if facts.unkillable:
        return State.WEDGED
    if not facts.wanted and not facts.running:
        return State.IDLE
    if silent(now, facts, limits):
        return State.STALLED
    if facts.running and facts.progressed_at is not None:
        return State.STREAMING
    if facts.failure:
        return facts.failure.state
    return State.STARTING


def silent(now: float, facts: Facts, limits: Limits) -> bool:
    """Whether the process that runs has been quiet for longer than any camera should be."""
    if not facts.running:
        return False
    if facts.progressed_at is None:
        return now - facts.started_at > limits.start_seconds
    return now - facts.progressed_at > limits.stall_seconds and now > facts.excused_until


def explained_until(facts: Facts, limits: Limits) -> float:
    """Until when these facts can last; then a supervisor that still has them turns and gets nowhere."""
    if facts.unkillable or not (facts.wanted or facts.running):
        return float("inf")  # it waits for a driver, or for somebody to look
    if facts.act_by is not None:
        return facts.act_by
    if facts.progressed_at is None:
        return facts.started_at + limits.start_seconds
    return max(facts.progressed_at + limits.stall_seconds, facts.excused_until)


def needs_reboot(now: float, well_at: float, cause: Cause, kind: str, after_seconds: float) -> bool:
    """Whether a camera of *kind* that was last well at *well_at* is past everything but a reboot; 0 is never.

    CLOCK_MONOTONIC begins with the boot, so a machine has always been up for *after_seconds* when this comes true:
    reboots that do not help are at least that far apart.
    """
    if not after_seconds or now - well_at < after_seconds or cause not in _REBOOT_MAY_CURE:
        return False
    return cause is Cause.WEDGED or kinds.of(kind).has_driver
