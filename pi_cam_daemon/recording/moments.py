"""Moments: which pictures are recorded. Those of an event, and those of some seconds before and after it."""

from __future__ import annotations

import math
from typing import Any

from pi_cam_daemon.recording.picture import Picture

# an event is told so much later than it began, at most; the pictures since then are kept for it
LONGEST_LAG_SECONDS = 3.0


class Moments:
    """Decides what is recorded; *after* is in seconds. All times are CLOCK_MONOTONIC: the wall clock may jump.

    *lag* says how long before it was told the last event began, in seconds.
    """

    def __init__(self, after: float) -> None:
        self._after = after
        self._going_on: set[int] = set()
        self._until = -math.inf
        self._reason = ""
        self.lag = 0.0

    def event(self, event: dict[str, Any], newest: Picture | None, now: float) -> None:
        """Take note of *event*, in the form of /events; *newest* is the newest picture."""
        kind, number, began, ended = event["kind"], event["id"], event["began"], event["ended"]
        if kind == "camera-lost":
            self.forget()
        elif kind == "motion" and ended is None:
            self._begin("motion", _ago(began, newest, 0.0), now)
            self._going_on.add(number)
        elif kind == "motion":
            self._going_on.discard(number)
            rest = self._after - _ago(ended, newest, math.inf)
            if rest > 0:
                self._begin("motion", _ago(began, newest, 0.0), now)
                self._until = max(self._until, now + rest)

    def ask(self, now: float) -> None:
        """Record now, as if something had happened at this moment."""
        self._begin("manual", 0.0, now)
        self._until = max(self._until, now + self._after)

    def forget(self) -> None:
        """End what goes on: the camera or the daemon is lost."""
        self._going_on.clear()
        self._until = -math.inf

    def reason(self, now: float) -> str:
        """Return why a picture of *now* is recorded; "" if it is not."""
        return self._reason if self._going_on or now < self._until else ""

    def _begin(self, reason: str, lag: float, now: float) -> None:
        if not self.reason(now):
            self._reason = reason
            self.lag = min(max(0.0, lag), LONGEST_LAG_SECONDS)


def _ago(at: float, newest: Picture | None, unknown: float) -> float:
    """Return how many seconds before *newest* the Unix time *at* was, at least 0; *unknown* if nobody can tell."""
    return max(0.0, newest.taken_us / 1e6 - at) if newest else unknown
