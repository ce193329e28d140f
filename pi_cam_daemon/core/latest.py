"""Where cameras and viewers meet: the newest frame, and who wants pictures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pi_cam_daemon.core.frame import Frame


class LatestFrame:
    """The newest frame, for any number of readers. There is no queue: a slow reader skips."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0
        self.frame: Frame | None = None  # however old it may be by now

    def publish(self, frame: Frame) -> None:
        """Make *frame* the newest and wake whoever waits."""
        self.frame = frame
        # after the frame, as `wait` looks at the frame after it is counted: one of the two sees the other
        if self._waiting:
            with self._changed:
                self._changed.notify_all()

    def wait(self, captured_since: float, timeout: float) -> Frame | None:
        """The newest frame, once it was captured at *captured_since* (CLOCK_MONOTONIC) or later.

        None when no such frame has come within *timeout* seconds.
        """

        def fresh() -> bool:
            return self.frame is not None and self.frame.captured >= captured_since

        if fresh():
            return self.frame
        with self._changed:
            self._waiting += 1
            try:
                return self.frame if self._changed.wait_for(fresh, timeout) else None
            finally:
                self._waiting -= 1


class Demand:
    """Who wants pictures: the viewers of the stream, and for a while whoever asked for a snapshot.

    *changed* is called, from any thread, when somebody comes or the last viewer leaves.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._viewers = 0
        self._left_at = self._wish_until = float("-inf")

    def want(self, seconds: float) -> None:
        """Somebody asked for a picture just now and waits for it for so long."""
        self._left_at = time.monotonic()
        self._wish_until = max(self._wish_until, self._left_at + seconds)
        self._changed()

    def viewers(self, count: int) -> None:
        """*count* viewers watch the stream from now on."""
        before, self._viewers = self._viewers, count
        if bool(before) != bool(count):
            self._left_at = time.monotonic()
            self._changed()

    def wanted_until(self, linger_seconds: float) -> float:
        """When the last wish ends, on the monotonic clock: infinity while somebody watches."""
        return float("inf") if self._viewers else max(self._left_at + linger_seconds, self._wish_until)
