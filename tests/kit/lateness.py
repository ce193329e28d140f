"""Stretch the time limits of tests by how slow and how late this machine is.

A thread of the test process measures once a second how long a fixed piece of work takes and how late a short sleep
ends. Other work on the machine shows in both.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque

_PERIOD_SECONDS = 1.0
# the worst of the last half minute counts
_REMEMBERED = 30
_SLEEP_SECONDS = 0.01
_WORK = bytes(6_000_000)
# what _WORK takes on a quiet core of a small server: no stretch there
_WORK_SECONDS = 0.012
# a wait may wake up this often, each time late
_WAKE_UPS = 10
# whatever is measured, a test that hangs ends
_MOST = 10.0


class _Gauge:
    """Measure this machine from the first use on, in a thread that lives as long as the process."""

    def __init__(self) -> None:
        self._slowness: deque[float] = deque(maxlen=_REMEMBERED)
        self._lateness: deque[float] = deque(maxlen=_REMEMBERED)
        self.measure()
        threading.Thread(target=self._run, name="lateness", daemon=True).start()

    def measure(self) -> None:
        begun = time.monotonic()
        time.sleep(_SLEEP_SECONDS)
        woken = time.monotonic()
        # no processor has an instruction for it; meanwhile other threads run, and no memory is taken
        hashlib.md5(_WORK, usedforsecurity=False)
        self._lateness.append(woken - begun - _SLEEP_SECONDS)
        self._slowness.append((time.monotonic() - woken) / _WORK_SECONDS)

    def _run(self) -> None:
        while True:
            time.sleep(_PERIOD_SECONDS)
            self.measure()

    def stretch(self, seconds: float) -> float:
        longer = seconds * max(1.0, *self._slowness) + _WAKE_UPS * max(self._lateness)
        return min(longer, _MOST * seconds)


_gauge: _Gauge | None = None


def patience(seconds: float) -> float:
    """Return *seconds*, longer the slower and later this machine was in the last half minute.

    Use it for upper bounds only. A loop has to call it each time, so that a slowdown during the wait counts.
    """
    global _gauge
    if _gauge is None:
        _gauge = _Gauge()
    return _gauge.stretch(seconds)
