from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_cam_daemon.errors import Cause
from pi_cam_daemon.health import Facts, Failure, Limits, State, explained_until, judge, needs_reboot, silent
from pi_cam_daemon.watchdog import Probe

NOW = 1000.0
LIMITS = Limits(start_seconds=30.0, stall_seconds=5.0)

IDLE = Facts(wanted=False, running=False)
WANTED = Facts(wanted=True, running=False)
BEGINNING = Facts(wanted=True, running=True, started_at=NOW - 3)
OVERDUE = replace(BEGINNING, started_at=NOW - 30.1)
STREAMING = Facts(wanted=True, running=True, started_at=NOW - 500, progressed_at=NOW - 0.04)
SILENT = replace(STREAMING, progressed_at=NOW - 5.1)

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
        pytest.param(replace(BEGINNING, started_at=NOW - 30), State.STARTING, id="at the start limit"),
        pytest.param(OVERDUE, State.STALLED, id="past the start limit"),
        pytest.param(STREAMING, State.STREAMING, id="frames come"),
        pytest.param(replace(STREAMING, progressed_at=NOW), State.STREAMING, id="a frame just now"),
        pytest.param(replace(STREAMING, progressed_at=NOW - 5), State.STREAMING, id="at the stall limit"),
        pytest.param(SILENT, State.STALLED, id="past the stall limit"),
        pytest.param(replace(SILENT, excused_until=NOW), State.STREAMING, id="silent over a still"),
        pytest.param(replace(SILENT, excused_until=NOW - 0.1), State.STALLED, id="silent after a still"),
        pytest.param(
            replace(STREAMING, started_at=NOW - 1, progressed_at=NOW - 1),
            State.STREAMING,
            id="first frame of a new one",
        ),
        pytest.param(replace(WANTED, failure=MISSING), State.NO_CAMERA, id="failed, waiting for the next attempt"),
        pytest.param(replace(BEGINNING, failure=MISSING), State.NO_CAMERA, id="failed, the next attempt runs"),
        pytest.param(replace(BEGINNING, failure=CRASHED), State.STARTING, id="crashed once, the next attempt runs"),
        pytest.param(replace(BEGINNING, failure=STALLED), State.STALLED, id="was silent, the next attempt runs"),
        pytest.param(replace(OVERDUE, failure=MISSING), State.STALLED, id="the next attempt is silent"),
        pytest.param(replace(STREAMING, failure=MISSING), State.STREAMING, id="a picture outweighs an old failure"),
        pytest.param(replace(SILENT, failure=MISSING), State.STALLED, id="silence outweighs an old failure"),
        pytest.param(replace(SILENT, unkillable=True), State.WEDGED, id="does not die"),
        pytest.param(replace(STREAMING, unkillable=True), State.WEDGED, id="does not die, whatever it sends"),
        pytest.param(replace(BEGINNING, unkillable=True, failure=WEDGED), State.WEDGED, id="does not die, and said so"),
    ],
)
def test_judge(facts: Facts, state: State) -> None:
    assert judge(NOW, facts, LIMITS) is state


@pytest.mark.parametrize("failure", [CRASHED, STALLED, WEDGED], ids=lambda failure: failure.cause.value)
def test_a_camera_that_nobody_wants_any_more_is_idle_whatever_befell_its_last_process(failure: Failure) -> None:
    # no process is left that could be starting, silent or unkillable, and none will come
    assert judge(NOW, replace(IDLE, failure=failure), LIMITS) is State.IDLE


@pytest.mark.parametrize("facts", [BEGINNING, STREAMING, OVERDUE, SILENT, WANTED], ids=str)
def test_the_judgement_does_not_depend_on_the_age_of_the_clock(facts: Facts) -> None:
    later = replace(
        facts,
        started_at=facts.started_at + 1e7,
        progressed_at=None if facts.progressed_at is None else facts.progressed_at + 1e7,
    )
    assert judge(NOW + 1e7, later, LIMITS) is judge(NOW, facts, LIMITS)


@pytest.mark.parametrize(("framerate", "stall_seconds"), [(25.0, 5.0), (2.0, 5.0), (1.0, 10.0), (0.1, 100.0)])
def test_ten_frame_periods_are_no_stall(framerate: float, stall_seconds: float) -> None:
    assert LIMITS.at_rate(framerate) == Limits(30.0 + 2 / framerate, stall_seconds)


def test_only_pictures_and_sleep_by_design_are_healthy() -> None:
    assert {state for state in State if state.ok} == {State.STREAMING, State.IDLE}


@pytest.mark.parametrize(
    ("facts", "until"),
    [
        pytest.param(IDLE, inf, id="asleep until somebody looks"),
        pytest.param(replace(IDLE, act_by=NOW - 99), inf, id="asleep, whatever was due before"),
        pytest.param(replace(WANTED, act_by=NOW + 30), NOW + 30, id="backing off"),
        pytest.param(BEGINNING, NOW - 3 + 30, id="starting"),
        pytest.param(STREAMING, NOW - 0.04 + 5, id="streaming"),
        pytest.param(replace(SILENT, act_by=NOW + 2), NOW + 2, id="being killed"),
        pytest.param(replace(SILENT, act_by=NOW - 60), NOW - 60, id="being killed for a minute"),
        pytest.param(replace(SILENT, unkillable=True), inf, id="wedged"),
    ],
)
def test_each_state_is_explained_for_as_long_as_the_ladder_needs(facts: Facts, until: float) -> None:
    assert explained_until(facts, LIMITS) == until


moments = st.floats(0, 2 * NOW)


@given(moments, st.none() | moments, st.sampled_from([0.01, 1.0, 25.0, 240.0]))
def test_a_running_camera_is_unexplained_only_once_the_ladder_should_have_killed_it(
    started_at: float, progressed_at: float | None, framerate: float
) -> None:
    facts = Facts(wanted=True, running=True, started_at=started_at, progressed_at=progressed_at)
    limits = LIMITS.at_rate(framerate)
    until = explained_until(facts, limits)
    assert not silent(until - 1e-6, facts, limits)
    assert silent(until + 1e-6, facts, limits)


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
def test_a_reboot_is_needed_only_where_it_may_help(
    well_at: float, cause: Cause, kind: str, after: float, needed: bool
) -> None:
    assert needs_reboot(NOW, well_at, cause, kind, after) is needed


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e6))
def test_no_reboot_is_needed_before_the_machine_is_up_for_as_long(uptime: float, well_at: float, after: float) -> None:
    if needs_reboot(uptime, well_at, Cause.WEDGED, "csi", after):
        assert uptime >= after


class Woken:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_a_probe_is_answered_only_by_a_loop_that_comes_round() -> None:
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


def test_an_answer_of_the_last_period_is_none_in_this_one() -> None:
    probe = Probe("loop", Woken())
    probe.ask()
    probe.answer()
    probe.answer()
    probe.ask()
    assert not probe.answered


def test_a_still_explains_a_camera_that_is_silent_for_as_long_as_it_may_take() -> None:
    assert explained_until(replace(SILENT, excused_until=NOW + 7), LIMITS) == NOW + 7
    assert explained_until(replace(STREAMING, excused_until=NOW + 1), LIMITS) == explained_until(STREAMING, LIMITS)
