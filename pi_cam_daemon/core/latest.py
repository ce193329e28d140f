"""The newest frame, and the demand for frames: here the camera's side and the viewers' side meet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.errors import JpegError


class LatestFrame:
    """The newest frame, for any number of readers. There is no queue: a slow reader skips frames."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self.frame: Frame | None = None  # may be old

    def publish(self, frame: Frame) -> None:
        """Make *frame* the newest, free the one before and wake every thread in `wait`."""
        with self._lock:  # not the condition, whose methods are no C code
            before, self.frame = self.frame, frame
            if before is not None:
                before.free()
            if self._waiting:
                self._changed.notify_all()

    def wait(self, captured_since: float, timeout: float) -> Frame | None:
        """Return the newest frame since *captured_since* (CLOCK_MONOTONIC), None if none comes in *timeout* seconds.

        Its JPEG stays valid.
        """

        def fresh() -> bool:
            return self.frame is not None and self.frame.captured >= captured_since

        with self._lock:
            self._waiting += 1
            try:
                if not self._changed.wait_for(fresh, timeout):
                    return None
            finally:
                self._waiting -= 1
            assert self.frame is not None
            self.frame.kept()  # before the next one frees it
            return self.frame

    def size(self) -> tuple[int, int] | None:
        """Return the width and height of the newest frame in pixels; None if there is none, or it is damaged."""
        with self._lock:
            try:
                return self.frame.size() if self.frame else None
            except JpegError:
                return None


class Demand:
    """The demand for frames: viewers of the stream, and for a while everybody who asked for a snapshot.

    *changed* is called, from any thread, when somebody asks, the first viewer comes or the last one leaves.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._viewers = 0
        self._left_at = self._snapshot_until = float("-inf")

    def want(self, seconds: float) -> None:
        """Extend the demand by a request for one picture, which waits for *seconds*."""
        self._left_at = time.monotonic()
        self._snapshot_until = max(self._snapshot_until, self._left_at + seconds)
        self._changed()

    def viewers(self, count: int) -> None:
        """Set the number of viewers of the stream."""
        before, self._viewers = self._viewers, count
        if bool(before) != bool(count):
            self._left_at = time.monotonic()
            self._changed()

    def wanted_until(self, linger_seconds: float) -> float:
        """Return when the demand ends (CLOCK_MONOTONIC); infinity while there are viewers."""
        return float("inf") if self._viewers else max(self._left_at + linger_seconds, self._snapshot_until)
