"""Schedule: when the pictures of the time-lapse are due, by the clock on the wall."""

from __future__ import annotations

from collections.abc import Callable

from pi_cam_daemon.imaging.local_time import local_time

NEAR_SECONDS = 0.5  # a picture is so late, at most
_DAY = 86_400
_LONGEST_JUMP = 7_200  # of local time, when summer begins or ends


def _seconds(time_of_day: str) -> int:
    hours, minutes = map(int, time_of_day.split(":"))
    return 3600 * hours + 60 * minutes


def _offset(seconds: int) -> int:
    return local_time(seconds).tm_gmtoff


class Schedule:
    """The moments at which a local clock is a multiple of *every* seconds past *start*, from *start* to *end* of a day.

    *start* and *end* are times such as "06:30"; "": midnight. An *end* that is earlier is that of the next day.
    *offset* returns how far local time is ahead of UTC at a Unix time, in seconds. All times are Unix times in seconds.
    """

    def __init__(self, every: int, start: str = "", end: str = "", offset: Callable[[int], int] = _offset) -> None:
        self._every = every
        self._start = _seconds(start) if start else 0
        self._length = ((_seconds(end) if end else _DAY - 1) - self._start) % _DAY
        self._offset = offset

    def after(self, moment: float) -> int:
        """Return the first one later than *moment*."""
        at = int(moment // 1)
        while True:
            at = self._multiple_after(at)
            past = self._past_start(at)
            if past <= self._length:
                return at
            at += max(0, _DAY - past - _LONGEST_JUMP)  # to some time before the next start: local time may jump

    def _multiple_after(self, at: int) -> int:
        """Return the first multiple later than *at*, also behind the end of the day."""
        while True:
            past = self._past_start(at)
            there = at + min(self._every - past % self._every, _DAY - past)
            if self._offset(there) == self._offset(at):
                return there
            at = self._jump(at, there)  # the clock shows another time from here on
            if self._past_start(at) % self._every == 0:
                return at

    def _jump(self, before: int, after: int) -> int:
        """Return the first second of another offset between *before* and *after*, whose offsets differ."""
        old = self._offset(before)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == old:
                before = middle
            else:
                after = middle
        return after

    def _past_start(self, at: int) -> int:
        """Return how many seconds past the start a local clock is at *at*."""
        return (at + self._offset(at) - self._start) % _DAY


class Ticker:
    """Tells when a picture of *schedule* is due, whatever happens to the wall clock. *missed* ones are counted.

    Those are missed whose moment passed and nobody asked. Those that a clock jumps over are not: they never came.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._next: int | None = None
        self._last: int | None = None
        self._ahead = 0.0  # of the wall clock, before the monotonic one
        self.missed = 0

    def due(self, wall: float, monotonic: float) -> int | None:
        """Return the moment that a picture is due for now; None for none. *wall* is Unix time."""
        ahead, before = wall - monotonic, self._ahead
        self._ahead = ahead
        if self._next is None or abs(ahead - before) > NEAR_SECONDS:
            self._next = self._schedule.after(wall - NEAR_SECONDS)
            if self._next == self._last:
                self._next = self._schedule.after(self._next)
        while self._next + NEAR_SECONDS < wall:
            self.missed += 1
            self._next = self._schedule.after(self._next)
        if self._next > wall:
            return None
        self._last, self._next = self._next, self._schedule.after(self._next)
        return self._last

    def wait(self, wall: float) -> float:
        """Return the seconds until the next one, at least 0."""
        return max(0.0, (self._next or 0) - wall)
