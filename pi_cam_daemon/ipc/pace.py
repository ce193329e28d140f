"""The pace of a camera's pictures, measured: from it follows how long a silence may last.

Both processes judge by it, because what a camera announces is often not what it gives: in the dark, or over a network.
"""

from __future__ import annotations

from collections import deque

# A source may send an old picture first and the next one at any time after it. So two gaps are needed to measure.
_FEWEST_GAPS = 2
_RATE_SECONDS = 3.0  # the rate is measured over at least these
_REPORTS = 8  # one comes each second

# After so long without a picture a camera is silent, and viewers see so. This is also three periods if that is longer.
SILENT_SECONDS = 2.0
_SILENT_PERIODS = 3
_LOST_PERIODS = 5


class Pace:
    """Measures the pictures of one camera, which announced *period* seconds between two of them.

    *measured* is that time as it really is, None before the third picture.
    """

    def __init__(self, period: float) -> None:
        self.announced = period
        self.measured: float | None = None
        self._reports: deque[tuple[int, float]] = deque(maxlen=_REPORTS)
        self._first = 0
        self._rate = 0.0

    def report(self, count: int, at: float) -> bool:
        """Note that *count* pictures have come, the last one *at* (CLOCK_MONOTONIC). Return whether that is new."""
        before = self._reports[-1] if self._reports else None
        if before and (count <= before[0] or at <= before[1]):
            return False
        self._reports.append((count, at))
        if not before:
            self._first = count
        elif count - self._first >= _FEWEST_GAPS:
            self._rate = self._mean_rate()
            # the newest gap alone, too, so that a camera that becomes slow is known at once
            self.measured = max((at - before[1]) / (count - before[0]), 1 / self._rate)
        return True

    def next(self, at: float) -> None:
        """Note one more picture *at* (CLOCK_MONOTONIC)."""
        self.report(self._reports[-1][0] + 1 if self._reports else 1, at)

    def _mean_rate(self) -> float:
        """Return the pictures a second since the newest report that is _RATE_SECONDS older than the last one."""
        last, last_at = self._reports[-1]
        for count, at in reversed(self._reports):
            rate = (last - count) / max(last_at - at, 1e-9)
            if last_at - at >= _RATE_SECONDS:
                break
        return rate

    def rate(self, now: float) -> float:
        """Return the measured rate in pictures a second; 0 before it is measured, and when the camera is silent."""
        silent = not self._reports or now - self._reports[-1][1] > self.silent_seconds
        return 0.0 if silent else self._rate

    @property
    def period(self) -> float:
        """Return the seconds between two pictures: the measured ones, or those announced if they are longer."""
        return max(self.announced, self.measured or 0.0)

    @property
    def silent_seconds(self) -> float:
        """Return after how many seconds without a picture the camera counts as silent."""
        return max(SILENT_SECONDS, _SILENT_PERIODS * self.period)

    @property
    def lost_seconds(self) -> float:
        """Return after how many seconds without a picture even a slow camera has to be started again."""
        return _LOST_PERIODS * self.period
