"""When pictures of the time-lapse are due: by a wall clock that knows summer time, and that somebody sets."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_cam_daemon.recording.schedule import NEAR_SECONDS, Schedule, Ticker

HOUR, DAY = 3600, 86_400
# the day on which summer time begins, and that on which it ends
CHANGES = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "Australia/Lord_Howe": ("2026-10-04", "2026-04-05"),  # by half an hour
}
ZONES = [*CHANGES, "Asia/Seoul", "Asia/Kolkata", "UTC"]


def offset_of(zone: str) -> Callable[[int], int]:
    info = ZoneInfo(zone)

    @functools.cache
    def offset(at: int) -> int:
        found = datetime.fromtimestamp(at, info).utcoffset()
        assert found is not None
        return int(found.total_seconds())

    return offset


def local(at: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at, ZoneInfo(zone))


def midnight(date: str, zone: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=ZoneInfo(zone)).timestamp())


def moments(schedule: Schedule, begin: int, end: int) -> list[int]:
    found, at = [], begin - 1
    while (at := schedule.after(at)) < end:
        found.append(at)
    return found


def seconds(text: str) -> int:
    hours, minutes, rest = map(int, text.split(":"))
    return hours * HOUR + minutes * 60 + rest


def expected(begin: int, end: int, every: int, window: tuple[str, str], zone: str) -> list[int]:
    """Return what the schedule is to give, from looking at the clock each second."""
    found = []
    for at in range(begin, end):
        text = f"{local(at, zone):%H:%M:%S}"
        start, stop = f"{window[0] or '00:00'}:00", f"{window[1]}:00" if window[1] else "23:59:59"
        inside = start <= text <= stop if start <= stop else text >= start or text <= stop
        if (seconds(text) - seconds(start)) % DAY % every == 0 and inside:
            found.append(at)
    return found


times = st.one_of(st.just(""), st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)))


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    near=st.integers(0, 3),
    shift=st.integers(-5 * HOUR, 5 * HOUR),
    every=st.one_of(st.sampled_from([1, 60, 600, HOUR, 7200, DAY]), st.integers(1, DAY)),
    window=st.tuples(times, times),
)
def test_the_clock_on_the_wall_decides(zone: str, near: int, shift: int, every: int, window: tuple[str, str]) -> None:
    dates = [*CHANGES.get(zone, ()), "2026-07-01", "2026-12-31"]
    begin = midnight(dates[near % len(dates)], zone) + shift
    schedule = Schedule(every, *window, offset=offset_of(zone))
    end = begin + HOUR // 4
    found = schedule.after(begin - 1)
    seen = expected(begin, end, every, window, zone)
    if seen:
        assert moments(schedule, begin, end) == seen
    else:
        assert found >= end
        assert expected(found, found + 1, every, window, zone) == [found]


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("every", [7, 7200])
def test_a_day_on_which_summer_begins_or_ends_has_all_its_pictures(zone: str, every: int) -> None:
    for date in CHANGES[zone]:
        begin = midnight(date, zone)
        assert midnight(str(datetime.fromisoformat(date).date() + timedelta(1)), zone) - begin != DAY
        end = begin + 5 * HOUR
        found = moments(Schedule(every, offset=offset_of(zone)), begin, end)
        assert found == expected(begin, end, every, ("", ""), zone)


@pytest.mark.parametrize(
    ("every", "start", "end", "found"),
    [
        (6 * HOUR, "", "", "00:00 06:00 12:00 18:00"),
        (HOUR, "22:30", "01:00", "00:30 22:30 23:30"),
        (7200, "06:30", "10:30", "06:30 08:30 10:30"),
        (HOUR, "12:00", "12:00", "12:00"),
        (5 * HOUR, "05:00", "", "05:00 10:00 15:00 20:00"),
        (DAY, "", "", "00:00"),
        (DAY, "11:59", "11:59", "11:59"),
    ],
)
def test_a_day_has_the_pictures_of_its_window(every: int, start: str, end: str, found: str) -> None:
    begin = midnight("2026-07-01", "Europe/Berlin")
    schedule = Schedule(every, start, end, offset_of("Europe/Berlin"))
    shown = [f"{local(at, 'Europe/Berlin'):%H:%M}" for at in moments(schedule, begin, begin + DAY)]
    assert shown == found.split()


def test_a_window_that_is_far_away_is_found_soon() -> None:
    asked = 0

    def offset(at: int) -> int:
        nonlocal asked
        asked += 1
        return 0 * at

    assert Schedule(1, "23:00", "23:30", offset).after(0) == 23 * HOUR
    assert asked < 40_000


def test_the_zone_of_this_machine_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule(DAY, "12:00", "12:00")
    try:
        for zone in ("Asia/Seoul", "America/New_York", "Europe/Berlin"):
            monkeypatch.setenv("TZ", zone)
            assert f"{local(schedule.after(START), zone):%H:%M:%S}" == "12:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()


# -- a clock that somebody sets

START = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())


class Clock:
    """The two clocks of a machine; only the wall clock is set."""

    def __init__(self) -> None:
        self.wall, self.monotonic = START + 0.25, 1000.0
        self.ticker = Ticker(Schedule(10, offset=lambda _: 0))

    def run(self, seconds: float, step: float = 0.1) -> list[int]:
        """Return the moments that pictures were taken for, and check that each was near."""
        found = []
        for _ in range(round(seconds / step)):
            self.wall += step
            self.monotonic += step
            due = self.ticker.due(self.wall, self.monotonic)
            if due is not None:
                assert 0 <= self.wall - due <= NEAR_SECONDS
                found.append(due - START)
        return found


def test_a_picture_is_due_once_and_in_time() -> None:
    clock = Clock()
    assert clock.run(60.5) == [0, 10, 20, 30, 40, 50, 60] and clock.ticker.missed == 0


@pytest.mark.parametrize("jump", [3600.0, 86_400 * 365.0, 20 * 365 * 86_400.0])
def test_what_a_clock_jumps_over_is_neither_caught_up_nor_missed(jump: float) -> None:
    clock = Clock()
    clock.run(14)
    clock.wall += jump
    found = clock.run(20)
    assert found == [20 + jump, 30 + jump] and clock.ticker.missed == 0


def test_a_clock_that_goes_back_gives_the_pictures_of_that_time_again() -> None:
    clock = Clock()
    assert clock.run(25) == [0, 10, 20]
    clock.wall -= 3600
    assert clock.run(20) == [30 - 3600, 40 - 3600] and clock.ticker.missed == 0


def test_a_small_step_back_gives_no_picture_twice() -> None:
    clock = Clock()
    assert clock.run(10.3) == [0, 10]
    clock.wall -= 0.8
    assert clock.run(11) == [20]


def test_a_machine_that_stood_still_misses_its_pictures_and_goes_on() -> None:
    clock = Clock()
    clock.run(4)
    clock.wall += 35
    clock.monotonic += 35
    assert clock.run(15) == [40, 50] and clock.ticker.missed == 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.05, 30), st.floats(-100_000, 100_000)), max_size=20))
def test_whatever_is_set_no_moment_comes_twice_and_none_is_early(jumps: list[tuple[float, float]]) -> None:
    clock = Clock()
    last = None
    for seconds, jump in jumps:
        clock.wall += jump
        found = clock.run(seconds, 0.25)
        for due in found:
            assert due % 10 == 0 and due != last
            last = due
    assert clock.ticker.missed == 0
