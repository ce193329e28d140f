"""Pictures of one kind that are due at a rate, while they are wanted."""

from __future__ import annotations

import threading
import time

_NEVER_NS = 1 << 63


class Due:
    """Says when the next picture is due: at once when they begin to be wanted, then *rate* times a second.

    *at_ns* is the time of the next one (CLOCK_MONOTONIC). Thread-safe.
    """

    def __init__(self, rate: float) -> None:
        self.at_ns = _NEVER_NS
        self._period_ns = int(1e9 / rate)
        self._lock = threading.Lock()

    def want(self, wanted: bool) -> None:
        with self._lock:
            if wanted != self.wanted:
                self.at_ns = 0 if wanted else _NEVER_NS

    @property
    def wanted(self) -> bool:
        return self.at_ns != _NEVER_NS

    def claim(self) -> bool:
        """Return True if a picture is due. The caller then makes it; the next one is due a period later."""
        now = time.monotonic_ns()
        if now < self.at_ns:
            return False
        with self._lock:
            if now < self.at_ns:
                return False
            # counted from the time due, so that the average rate is right for any frame rate of the camera
            self.at_ns += self._period_ns
            if self.at_ns <= now:
                self.at_ns = now + self._period_ns
            return True
