from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_cam_daemon.config import loading
from pi_cam_daemon.core.health import CameraStatus, Deadlines, Facts, Failure, State, deadlines, judge, needs_reboot
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.pace import Pace
from pi_cam_daemon.system.watchdog import Probe

NOW = 1000.0
RATE = 100.0  # so that a frame period counts for nothing but in the test of it
START, SILENT, STALL = 30.0 + 2 / RATE, 2.0, 5.0
LIMITS = replace(loading.load(etc=Path("/nonexistent")).source, start_timeout_seconds=30.0, stall_timeout_seconds=STALL)

IDLE = Facts(wanted=False, running=False)
WANTED = Facts(wanted=True, running=False)


def measured(period: float, announced: float = RATE) -> Pace:
    """Return the pace of pictures that came *period* seconds apart from a camera that announced another rate."""
    pace = Pace(1 / announced)
    for number in range(1, 4):
        pace.report(number, NOW + number * period)
    return pace


def running(started_at: float, progressed_at: float | None = None, stall_grace_until: float = 0.0) -> Facts:
    silent_at, _ = deadlines(LIMITS, measured(1 / RATE), started_at, progressed_at, stall_grace_until)
    return Facts(wanted=True, running=True, pictures=progressed_at is not None, silent_at=silent_at)


BEGINNING = running(NOW - 3)
OVERDUE = running(NOW - 30.1)
STREAMING = running(NOW - 500, NOW - 0.04)
SILENT_NOW = running(NOW - 500, NOW - 2.1)

MISSING = Failure(State.NO_CAMERA, Cause.MISSING, "There is no camera")
CRASHED = Failure(State.STARTING, Cause.CRASHED, "It died")
STALLED = Failure(State.STALLED, Cause.STALLED, "It is silent")
WEDGED = Failure(State.WEDGED, Cause.WEDGED, "It does not die")


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        pytest.param(IDLE, State.IDLE, id="nobody watches"),
        pytest.param(WANTED, State.STARTING, id="wanted, not yet spawned"),
        pytest.param(BEGINNING, State.STARTING, id="spawned, no frame yet"),
        pytest.param(replace(BEGINNING, wanted=False), State.STARTING, id="unwanted while it starts"),
        pytest.param(running(NOW - START), State.STARTING, id="at the start limit"),
        pytest.param(OVERDUE, State.STALLED, id="past the start limit"),
        pytest.param(STREAMING, State.STREAMING, id="frames come"),
        pytest.param(running(NOW - 500, NOW), State.STREAMING, id="a frame just now"),
        pytest.param(running(NOW - 500, NOW - 2), State.STREAMING, id="at the limit of silence"),
        pytest.param(SILENT_NOW, State.STALLED, id="past the limit of silence"),
        pytest.param(running(NOW - 500, NOW - 5.1, NOW), State.STREAMING, id="silent over a still"),
        pytest.param(running(NOW - 500, NOW - 5.1, NOW - 0.1), State.STALLED, id="silent after a still"),
        pytest.param(running(NOW - 1, NOW - 1), State.STREAMING, id="first frame of a new one"),
        pytest.param(replace(WANTED, failure=MISSING), State.NO_CAMERA, id="failed, waiting for the next attempt"),
        pytest.param(replace(BEGINNING, failure=MISSING), State.NO_CAMERA, id="failed, the next attempt runs"),
        pytest.param(replace(BEGINNING, failure=CRASHED), State.STARTING, id="crashed once, the next attempt runs"),
        pytest.param(replace(BEGINNING, failure=STALLED), State.STALLED, id="was silent, the next attempt runs"),
        pytest.param(replace(OVERDUE, failure=MISSING), State.STALLED, id="the next attempt is silent"),
        pytest.param(replace(STREAMING, failure=MISSING), State.STREAMING, id="a picture outweighs an old failure"),
        pytest.param(replace(STREAMING, stands_in=True, failure=MISSING), State.NO_CAMERA, id="a stand-in"),
        pytest.param(replace(SILENT_NOW, stands_in=True, failure=MISSING), State.STALLED, id="a silent stand-in"),
        pytest.param(replace(SILENT_NOW, failure=MISSING), State.STALLED, id="silence outweighs an old failure"),
        pytest.param(replace(SILENT_NOW, unkillable=True), State.WEDGED, id="does not die"),
        pytest.param(replace(STREAMING, unkillable=True), State.WEDGED, id="does not die, whatever it sends"),
        pytest.param(replace(BEGINNING, unkillable=True, failure=WEDGED), State.WEDGED, id="does not die, and said so"),
    ],
)
def test_the_state_is_judged_by_deadlines_and_demand(facts: Facts, state: State) -> None:
    assert judge(NOW, facts) is state


@pytest.mark.parametrize("failure", [CRASHED, STALLED, WEDGED], ids=lambda failure: failure.cause.value)
def test_an_unwanted_camera_is_idle_even_after_a_failure(failure: Failure) -> None:
    # no process is left that could be starting, silent or unkillable, and none will come
    assert judge(NOW, replace(IDLE, failure=failure)) is State.IDLE


@pytest.mark.parametrize("times", [(NOW - 3,), (NOW - 500, NOW - 0.04), (NOW - 30.1,), (NOW - 500, NOW - 5.1)], ids=str)
def test_the_state_does_not_depend_on_the_clocks_start(times: tuple[float, ...]) -> None:
    later = running(*(moment + 1e7 for moment in times))
    assert judge(NOW + 1e7, later) is judge(NOW, running(*times))


@pytest.mark.parametrize(
    ("period", "silent", "restart"),
    [(0.04, 2.0, 5.0), (0.5, 2.0, 5.0), (1.0, 3.0, 5.0), (2.15, 6.45, 10.75), (6.0, 18.0, 30.0), (10.0, 30.0, 50.0)],
)
@pytest.mark.parametrize("announced", [25.0, None])
def test_silence_is_judged_by_periods(period: float, silent: float, restart: float, announced: float | None) -> None:
    pace = measured(period, announced or 1 / period)
    assert deadlines(LIMITS, pace, 0.0, NOW) == pytest.approx((NOW + silent, NOW + restart))


def test_an_announced_period_counts_although_pictures_come_faster() -> None:
    assert deadlines(LIMITS, measured(0.04, announced=0.1), 0.0, NOW) == pytest.approx((NOW + 30.0, NOW + 50.0))


def test_the_second_picture_may_take_as_long_as_the_first() -> None:
    assert deadlines(LIMITS, Pace(0.04), NOW) == Deadlines(NOW + 30.08, NOW + 30.08)
    assert deadlines(LIMITS, Pace(0.04), 0.0, NOW) == Deadlines(NOW + 30.08, NOW + 30.08)


@pytest.mark.parametrize(
    ("watched_since", "silent", "restart"),
    [(inf, 3.0, 3.0), (NOW + 0.5, 1.5, 1.5), (NOW + 2.5, 3.0, 3.0), (NOW, 1.0, 1.0), (0.0, 1.0, 1.0)],
)
def test_an_unwatched_camera_has_time_for_its_reports(watched_since: float, silent: float, restart: float) -> None:
    limits = replace(LIMITS, stall_timeout_seconds=1.0)
    found = deadlines(limits, measured(0.04), 0.0, NOW, watched_since=watched_since)
    assert found == pytest.approx((NOW + silent, NOW + restart))


def test_only_pictures_and_sleep_by_design_are_healthy() -> None:
    assert {state for state in State if state.ok} == {State.STREAMING, State.IDLE}


def seen(
    state: State, failure: Failure | None = None, takes_still: bool = False, stands_in: bool = False
) -> CameraStatus:
    """Return the status of a camera of which only this is known."""
    return CameraStatus(
        state, failure, None, 0, 0.0, 0.04, None, None, 0, {}, NOW, False, takes_still, stands_in, unusable="", last=""
    )


@pytest.mark.parametrize(
    ("status", "live", "cause"),
    [
        (seen(State.STREAMING), True, Cause.STALLED),
        (seen(State.STREAMING, takes_still=True), False, Cause.STILL),
        (seen(State.STREAMING, MISSING), True, Cause.STALLED),
        (seen(State.NO_CAMERA, MISSING), False, Cause.MISSING),
        (seen(State.NO_CAMERA, MISSING, stands_in=True), True, Cause.MISSING),
        (seen(State.STALLED, stands_in=True), False, Cause.STALLED),
        (seen(State.STALLED, MISSING), False, Cause.MISSING),
        (seen(State.WEDGED), False, Cause.WEDGED),
        (seen(State.STARTING), False, Cause.STARTING),
        (seen(State.IDLE), False, Cause.STARTING),
    ],
)
def test_a_picture_is_live_or_has_a_cause(status: CameraStatus, live: bool, cause: Cause) -> None:
    assert (status.live, status.cause) == (live, cause)


def test_a_failure_tells_what_was_before_it() -> None:
    assert Failure.of(SourceError("gone", Cause.LOST), "after a start: ").message == "after a start: gone"


moments = st.floats(0, 2 * NOW)


@given(moments, st.none() | moments, st.just(0.0) | moments, st.sampled_from([0.01, 1.0, 25.0, 240.0]))
def test_a_camera_is_stalled_from_the_end_of_its_time_limit_on(
    started_at: float, progressed_at: float | None, stall_grace_until: float, framerate: float
) -> None:
    silence, _ = deadlines(LIMITS, measured(1 / framerate), started_at, progressed_at, stall_grace_until)
    facts = Facts(wanted=True, running=True, pictures=progressed_at is not None, silent_at=silence)
    assert judge(silence - 1e-6, facts) is not State.STALLED
    assert judge(silence + 1e-6, facts) is State.STALLED


def test_the_first_picture_and_a_still_have_longer_time_limits() -> None:
    pace = measured(1 / RATE)
    assert deadlines(LIMITS, pace, NOW - 3) == (NOW - 3 + START,) * 2
    assert deadlines(LIMITS, pace, NOW - 500, NOW - 0.5) == (NOW - 0.5 + SILENT, NOW - 0.5 + STALL)
    assert deadlines(LIMITS, pace, NOW - 500, NOW - 5.1, NOW + 7) == (NOW + 7,) * 2
    assert deadlines(LIMITS, pace, NOW - 500, NOW - 0.5, NOW + 1) == (NOW - 0.5 + SILENT, NOW - 0.5 + STALL)


HOUR = 3600.0


@pytest.mark.parametrize(
    ("well_at", "cause", "kind", "after", "needed"),
    [
        pytest.param(NOW - HOUR, Cause.STALLED, "csi", HOUR, True, id="silent for as long"),
        pytest.param(NOW - HOUR + 1, Cause.STALLED, "csi", HOUR, False, id="not yet for as long"),
        pytest.param(NOW - 99 * HOUR, Cause.WEDGED, "csi", 0.0, False, id="never, unless switched on"),
        pytest.param(NOW - HOUR, Cause.WEDGED, "csi", HOUR, True, id="wedged"),
        pytest.param(NOW - HOUR, Cause.CRASHED, "csi", HOUR, True, id="crashes again and again"),
        pytest.param(NOW - HOUR, Cause.LOST, "usb", HOUR, True, id="there, and fails"),
        pytest.param(NOW - HOUR, Cause.MISSING, "csi", HOUR, False, id="no camera"),
        pytest.param(NOW - HOUR, Cause.BUSY, "csi", HOUR, False, id="in use"),
        pytest.param(NOW - HOUR, Cause.PERMISSION, "csi", HOUR, False, id="not permitted"),
        pytest.param(NOW - HOUR, Cause.SETTINGS, "csi", HOUR, False, id="badly set"),
        pytest.param(NOW - HOUR, Cause.STARTING, "csi", HOUR, False, id="not failed"),
        pytest.param(NOW - HOUR, Cause.LOST, "upstream", HOUR, False, id="another machine's camera"),
        pytest.param(NOW - HOUR, Cause.WEDGED, "pattern", HOUR, True, id="wedged, whatever it is"),
    ],
)
def test_a_reboot_is_needed_only_if_it_may_help(
    well_at: float, cause: Cause, kind: str, after: float, needed: bool
) -> None:
    assert needs_reboot(NOW, well_at, cause, kind, after) is needed


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e6))
def test_no_reboot_is_needed_before_the_machine_is_up_as_long(uptime: float, well_at: float, after: float) -> None:
    if needs_reboot(uptime, well_at, Cause.WEDGED, "csi", after):
        assert uptime >= after


class Woken:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_a_probe_is_answered_only_by_a_loop_that_turns() -> None:
    wake = Woken()
    probe = Probe("loop", wake)
    assert probe.answered
    probe.ask()
    assert wake.times == 1
    assert not probe.answered
    probe.ask()
    assert not probe.answered
    probe.answer()
    assert probe.answered


def test_an_answer_counts_for_one_period_only() -> None:
    probe = Probe("loop", Woken())
    probe.ask()
    probe.answer()
    probe.answer()
    probe.ask()
    assert not probe.answered
