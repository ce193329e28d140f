"""The newest frame, and the demand for frames, of each size: here the camera's side and the viewers' side meet."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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

    def forget(self) -> None:
        """Have no frame until the next one."""
        with self._lock:
            before, self.frame = self.frame, None
            if before is not None:
                before.free()

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


@dataclass(frozen=True)
class Pictures:
    """The pictures of one size: the newest, and the demand for them. *steady* ones come even while nobody watches."""

    latest: LatestFrame
    demand: Demand
    steady: bool = True

    def take(self, captured_since: float, timeout: float) -> Frame | None:
        """Ask for a picture; return the newest since *captured_since*, None if none comes. See LatestFrame.wait."""
        with self.demand.waiting():
            return self.latest.wait(captured_since, timeout)


class Demand:
    """The demand for frames: by viewers of the stream, and by requests that wait for a frame.

    *changed* is called, from any thread, when the demand begins and when it ends.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._viewers = self._waiting = 0
        self._left_at = float("-inf")

    @property
    def present(self) -> bool:
        """Return whether somebody watches or waits now."""
        return self._viewers > 0 or self._waiting > 0

    def touch(self) -> None:
        """Prolong the demand by a request that a frame was there for."""
        self._left_at = time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Demand frames during the block."""
        self._count(waiting=1)
        try:
            yield
        finally:
            self._count(waiting=-1)

    def viewers(self, count: int) -> None:
        """Set the number of viewers of the stream."""
        if count != self._viewers:
            self._count(viewers=count - self._viewers)

    def wanted_until(self, linger_seconds: float) -> float:
        """Return when the demand ends (CLOCK_MONOTONIC); infinity while somebody watches or waits."""
        return float("inf") if self.present else self._left_at + linger_seconds

    def _count(self, viewers: int = 0, waiting: int = 0) -> None:
        with self._lock:
            before = self.present
            self._viewers += viewers
            self._waiting += waiting
            changed = before != self.present
            self._left_at = time.monotonic()
        if changed:
            self._changed()
