"""Limits on connections and viewers, in all and for each address."""

from __future__ import annotations

import threading
from collections import Counter

from pi_cam_daemon.server.refused import Reason, Refused


class Quota:
    """Counts things of one kind, such as viewers, and refuses too many; for any thread.

    *reason* is for too many in all and *each_reason* for too many of one address. Their labels are the settings' names.
    """

    def __init__(self, thing: str, reason: Reason, each_reason: Reason) -> None:
        self.rejected = 0
        self._thing = thing
        self._reason = reason
        self._each_reason = each_reason
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._sum = 0

    @property
    def taken(self) -> int:
        return self._sum

    def take(self, address: str, most: int, most_each: int, exempt: bool = False) -> None:
        """Take a place for *address*, which has to be given back.

        Raises Refused when *most* are taken, or *most_each* by an address that is not *exempt*.
        """
        with self._lock:
            if self._sum >= most:
                self.rejected += 1
                are = "is" if most == 1 else "are"
                text = f"There {are} {self._counted(most)} already, and http.{self._reason.label} allows no more"
                raise Refused(self._reason, text)
            if self._taken[address] >= most_each and not exempt:
                self.rejected += 1
                text = f"{address} has {self._counted(most_each)}, and http.{self._each_reason.label} allows no more"
                raise Refused(self._each_reason, text)
            self._taken[address] += 1
            self._sum += 1

    def give_back(self, address: str) -> None:
        with self._lock:
            self._sum -= 1
            self._taken[address] -= 1
            if not self._taken[address]:  # whoever came once is not remembered for ever
                del self._taken[address]

    def _counted(self, number: int) -> str:
        return f"{number} {self._thing}{'' if number == 1 else 's'}"
