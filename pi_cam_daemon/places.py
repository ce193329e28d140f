"""Places for connections and viewers, limited in all and for each address: nobody takes what is there for everybody."""

from __future__ import annotations

import threading
from collections import Counter

from pi_cam_daemon.refused import Reason, Refused


class Places:
    """Limit how many things there are, *most* in all and *most_each* for one address; for any thread.

    The reasons to refuse more bear the names of the settings.
    """

    def __init__(self, thing: str, reason: Reason, each_reason: Reason) -> None:
        self.most = 0
        self.most_each = 0
        self.rejected = 0  # found none free
        self._thing = thing
        self._reason = reason
        self._each_reason = each_reason
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._sum = 0

    @property
    def taken(self) -> int:
        return self._sum

    def take(self, address: str, exempt: bool = False) -> None:
        """Take a place for *address*, which has to be given back; one that is *exempt* may have any number of them.

        Raises Refused when there is none.
        """
        with self._lock:
            if self._sum >= self.most:
                self.rejected += 1
                are = "is" if self.most == 1 else "are"
                raise Refused(
                    self._reason,
                    f"There {are} {self._counted(self.most)} already, and http.{self._reason.label} allows no more",
                )
            if self._taken[address] >= self.most_each and not exempt:
                self.rejected += 1
                raise Refused(
                    self._each_reason,
                    f"{address} has {self._counted(self.most_each)}, and http.{self._each_reason.label} allows no more",
                )
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
