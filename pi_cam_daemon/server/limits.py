"""Limits: on connections and viewers, in total and per address, and locks that refuse clients instead of blocking."""

from __future__ import annotations

import contextlib
import select
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pi_cam_daemon.server.refused import Reason, Refused

# A newcomer waits for so long for the place of a peer that is hanging up, which takes a round trip of the network.
LEAVING_SECONDS = 0.5


def hung_up(fds: Iterable[int]) -> bool:
    """Return whether the peer of one of the sockets *fds* has closed at least its sending side."""
    poll = select.poll()
    for fd in fds:
        if fd >= 0:  # else it was closed meanwhile
            poll.register(fd, select.POLLRDHUP)
    return bool(poll.poll(0))


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

    *reason* is for the total, *each_reason* for one address; their keys are the settings with the limits. *leaving*
    returns whether somebody who has a place is just hanging up; `take` then waits a moment for the place.
    """

    def __init__(
        self, thing: str, reason: Reason, each_reason: Reason, leaving: Callable[[], bool] = lambda: False
    ) -> None:
        self.taken = self.rejected = 0
        self._thing = thing
        self._reason = reason
        self._each_reason = each_reason
        self._leaving = leaving
        self._changed = threading.Condition(threading.Lock())
        self._by_address: Counter[str] = Counter()

    def take(self, address: str, most: int, most_each: int, exempt: bool = False) -> None:
        """Take a place for *address*; the caller has to give it back.

        Raises Refused when *most* are taken, or *most_each* by an address that is not *exempt*.
        """
        with self._changed:
            if self._lack(address, most, most_each, exempt) and self._leaving():
                self._changed.wait_for(lambda: not self._lack(address, most, most_each, exempt), LEAVING_SECONDS)
            if lack := self._lack(address, most, most_each, exempt):
                self.rejected += 1
                reason, taken = lack
                raise Refused(reason, f"{taken}, and http.{reason.key} allows no more")
            self._by_address[address] += 1
            self.taken += 1

    def give_back(self, address: str) -> None:
        with self._changed:
            self.taken -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:  # without this, one entry per address would stay for ever
                del self._by_address[address]
            self._changed.notify_all()

    def _lack(self, address: str, most: int, most_each: int, exempt: bool) -> tuple[Reason, str] | None:
        """Return why *address* gets no place, and who has them; None if it gets one."""
        if self.taken >= most:
            return self._reason, f"There {'is' if most == 1 else 'are'} {self._counted(most)} already"
        if self._by_address[address] >= most_each and not exempt:
            return self._each_reason, f"{address} has {self._counted(most_each)}"
        return None

    def _counted(self, number: int) -> str:
        return f"{number} {self._thing}{'' if number == 1 else 's'}"
