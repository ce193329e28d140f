"""Pictures that viewers are spared."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

# they are worth a line this often
_WARN_SECONDS = 60.0


class Dropped:
    """Counts the bad pictures of the camera called *name*, and says so now and then."""

    def __init__(self, name: object) -> None:
        self._name = name
        self._count = 0
        self._next_word = 0.0

    def add(self, why: object) -> None:
        """One more, because of *why*."""
        self._count += 1
        now = time.monotonic()
        if now >= self._next_word:
            self._next_word = now + _WARN_SECONDS
            log.warning("%s: %d bad pictures so far, the last one because %s", self._name, self._count, why)
