"""Limits: on connections and viewers, in total and per address, and locks that refuse clients instead of blocking."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pi_cam_daemon.server.refused import Reason, Refused


@contextlib.contextmanager
def held(lock: threading.Lock | threading.Semaphore, seconds: float, *refusal: Any) -> Iterator[None]:
    """Hold *lock*. Raises Refused(*refusal) if it is not free within *seconds*."""
    if not lock.acquire(timeout=seconds):
        raise Refused(*refusal)  # made here: an exception that a frame names is a reference cycle
    try:
        yield
    finally:
        lock.release()


class Quota:
    """Counts things of one kind, such as viewers, and refuses too many in total or of one address. Thread-safe.

    The labels of *reason*, for the total, and of *each_reason* are the names of the settings.
    """

    def __init__(self, thing: str, reason: Reason, each_reason: Reason) -> None:
        self.taken = self.rejected = 0
        self._thing = thing
        self._reason = reason
        self._each_reason = each_reason
        self._lock = threading.Lock()
        self._by_address: Counter[str] = Counter()

    def take(self, address: str, most: int, most_each: int, exempt: bool = False) -> None:
        """Take a place for *address*; the caller has to give it back.

        Raises Refused when *most* are taken, or *most_each* by an address that is not *exempt*.
        """
        with self._lock:
            if self.taken >= most:
                raise self._full(self._reason, f"There {'is' if most == 1 else 'are'} {self._counted(most)} already")
            if self._by_address[address] >= most_each and not exempt:
                raise self._full(self._each_reason, f"{address} has {self._counted(most_each)}")
            self._by_address[address] += 1
            self.taken += 1

    def give_back(self, address: str) -> None:
        with self._lock:
            self.taken -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:  # without this, one entry per address would stay for ever
                del self._by_address[address]

    def _full(self, reason: Reason, taken: str) -> Refused:
        self.rejected += 1
        return Refused(reason, f"{taken}, and http.{reason.label} allows no more")

    def _counted(self, number: int) -> str:
        return f"{number} {self._thing}{'' if number == 1 else 's'}"
