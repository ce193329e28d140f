"""Slow, changing and freezing cameras on a virtual clock: the real link and supervisor judge the times of arrival."""

import itertools
import logging
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_cam_daemon.config import loading
from pi_cam_daemon.core import link as link_module
from pi_cam_daemon.core import supervisor as supervisor_module
from pi_cam_daemon.core.health import State
from pi_cam_daemon.ipc.pace import Pace
from pi_cam_daemon.ipc.protocol import COUNT, Kind, Message
from pi_cam_daemon.server.audience import HOLD_SECONDS
from tests.unit.test_supervisor import INFO, NOW, Rig

JPEG = memoryview(b"\xff\xd8")
TICK = 0.05
NORMAL = replace(INFO, framerate=25.0)


@dataclass
class Seen:
    """Observations of a camera, in seconds from its start."""

    stalled: list[float]  # each tick with the state "stalled"
    cards: list[float]  # each tick at which viewers see the no-signal picture
    lies: list[float]  # the same while the state says "streaming"
    restarts: list[float]
    rates: list[tuple[float, float]]

    def rate(self, at: float) -> float:
        return next(rate for moment, rate in self.rates if moment >= at)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def monotonic(self) -> float:
        return self.now

    time = monotonic


def played(
    times: Sequence[float], seconds: float, watched: bool = True, stall_timeout: float = 5.0, late: float = 0.0
) -> Seen:
    """Play a camera that announces 25 pictures a second and gives them at *times*; each report is up to *late*."""
    clock = Clock()
    seen = Seen([], [], [], [], [])
    config = loading.load(etc=Path("/nonexistent"))
    rig = Rig(replace(config, source=replace(config.source, stall_timeout_seconds=stall_timeout)))
    rig.supervisor.demand.viewers(int(watched))
    with pytest.MonkeyPatch.context() as patch:
        fake = SimpleNamespace(monotonic=clock.monotonic, time=clock.time)
        patch.setattr(link_module, "time", fake)
        patch.setattr(supervisor_module, "time", fake)
        process, link = rig.started()
        link.info, link.pace.announced = NORMAL, 1 / NORMAL.framerate
        link._slots._view[mmap.PAGESIZE : mmap.PAGESIZE + len(JPEG)] = JPEG  # a picture in the first slot
        count, newest, framed, beat_at, beats = 0, 0.0, -10.0, 0.0, 0
        for tick in range(round(seconds / TICK)):
            at = tick * TICK
            while count < len(times) and times[count] <= at:
                newest, count = times[count], count + 1
                clock.now = NOW + newest
                if watched or newest >= framed + 1:
                    framed = newest
                    link._frame(0, 0, 0, len(JPEG), 0).free()
            clock.now = NOW + at
            if at >= beat_at:
                link._handle(Message(Kind.BEAT, round((NOW + newest) * 1e9), memoryview(COUNT.pack(count))))
                beats += 1
                beat_at = beats + (late if beats % 2 else 0.0)
            rig.turn(clock.now)
            status = rig.supervisor.status()
            if process.signals:
                seen.restarts.append(at)
                break
            if status.state is State.STALLED:
                seen.stalled.append(at)
            if count and not status.live and at - framed >= HOLD_SECONDS and watched:
                seen.cards.append(at)
                if status.state is State.STREAMING:
                    seen.lies.append(at)
            seen.rates.append((at, status.rate))
    for each in rig.links:
        each.close()
    assert not seen.lies
    return seen


def every(period: float, until: float, begin: float = 0.0) -> list[float]:
    return [begin + period * number for number in range(int((until - begin) / period + 1e-6) + 1)]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL):
        yield


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("period", [0.04, 0.7, 1.0, 1.3, 2.0, 2.15, 2.5, 3.0, 5.0, 6.0, 10.0, 20.0])
def test_a_steady_camera_is_live_whatever_it_announces(period: float, watched: bool) -> None:
    seconds = max(30.0, 6 * period)
    seen = played(every(period, seconds), seconds, watched)
    assert (seen.stalled, seen.cards, seen.restarts) == ([], [], [])
    assert seen.rate(seconds - 1) == pytest.approx(1 / period, rel=0.1)


STEADY: dict[str, list[float]] = {
    "the first picture is an old one": [0.0, 0.3, *every(5.0, 60, 5.3)],
    "the first picture comes late": every(10.0, 60, 25.0),
    "two pictures at a time": [moment + more for moment in every(6.0, 60) for more in (0.0, 0.05)],
    "uneven": list(itertools.accumulate([2.0, 3.0, 1.5, 4.0, 2.5] * 5)),
    "slow and slower": list(itertools.accumulate([2.0, 2.0, 2.0, 5.0, 5.0, 12.0, 12.0])),
    "into the night": list(itertools.accumulate(0.04 * 1.03**number for number in range(130))),
    "one picture in three is late": list(itertools.accumulate([2.0, 2.0, 5.5] * 6)),
    "out of the night": [*every(2.5, 25), *every(0.04, 60, 25.04)],
}


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("times", STEADY.values(), ids=STEADY)
def test_a_camera_that_goes_on_is_neither_covered_nor_restarted(times: list[float], watched: bool) -> None:
    seen = played(times, times[-1] + 1, watched)
    assert (seen.stalled, seen.cards, seen.restarts) == ([], [], [])


def test_a_sudden_night_covers_one_picture_at_most() -> None:
    seen = played([*every(0.04, 10), *every(2.5, 60, 12.5)], 60)
    assert seen.restarts == []
    assert seen.cards == seen.stalled
    assert all(12.0 <= moment <= 12.55 for moment in seen.cards)
    assert seen.rate(18.6) == pytest.approx(0.4, rel=0.01)


@pytest.mark.parametrize(
    ("times", "watched", "silent", "restart"),
    [
        pytest.param(every(0.04, 10), True, 2.0, 5.0, id="25 a second"),
        pytest.param(every(0.04, 10), False, 3.0, 5.0, id="25 a second, unwatched"),
        pytest.param(every(0.04, 1.5), True, 2.0, 5.0, id="soon after the start"),
        pytest.param([*every(0.04, 10), *every(0.04, 20, 14)], True, 2.0, 5.0, id="after one late picture"),
        pytest.param([*every(2.5, 20), *every(0.04, 30, 20.04)], True, 2.0, 5.0, id="by day, after a night"),
        pytest.param(every(1.0, 20), True, 3.0, 5.0, id="1 a second"),
        pytest.param(every(2.5, 20), True, 7.5, 12.5, id="one in 2.5 s"),
        pytest.param(every(2.5, 20), False, 7.5, 12.5, id="one in 2.5 s, unwatched"),
        pytest.param(every(10.0, 60), True, 30.0, 50.0, id="one in 10 s"),
    ],
)
def test_a_freeze_is_noticed_within_a_few_periods(
    times: list[float], watched: bool, silent: float, restart: float
) -> None:
    seen = played(times, times[-1] + restart + 2, watched)
    last = times[-1]
    stalled = [moment for moment in seen.stalled if moment > last]
    assert silent <= stalled[0] - last < silent + 0.2
    assert restart <= seen.restarts[0] - last < restart + 0.2
    assert not watched or stalled[0] == next(moment for moment in seen.cards if moment > last)


def test_a_camera_that_gives_one_picture_has_the_time_of_a_start() -> None:
    assert 30.0 < played([0.5], 40).restarts[0] - 0.5 < 30.3


@pytest.mark.parametrize("late", [0.0, 0.9])
def test_an_unwatched_camera_is_not_restarted_between_its_reports(late: float) -> None:
    seen = played(every(0.04, 30), 30, watched=False, stall_timeout=1.0, late=late)
    assert (seen.stalled, seen.restarts) == ([], [])


def test_a_short_time_limit_holds_while_somebody_watches() -> None:
    seen = played(every(0.04, 10), 20, stall_timeout=1.0)
    assert 1.0 <= seen.restarts[0] - 10 < 1.2


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(-1e9, 1e9)), max_size=12))
def test_any_reports_give_a_pace(reports: list[tuple[int, float]]) -> None:
    pace = Pace(0.04)
    for count, at in reports:
        pace.report(count, at)
    assert pace.measured is None or pace.measured > 0
    assert pace.rate(0.0) >= 0
    assert pace.lost_seconds > pace.period >= 0.04
