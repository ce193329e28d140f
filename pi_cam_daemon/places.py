"""Places for connections and viewers, limited in all and for each address: nobody takes what is there for everybody."""

from __future__ import annotations

import threading
from collections import Counter
from http import HTTPStatus

from pi_cam_daemon.request import Refused


class Places:
    """*most* places in all and *most_each* for one address, as the setting http.*key* says; for any thread."""

    def __init__(self, thing: str, key: str) -> None:
        self.most = 0
        self.most_each = 0
        self.rejected = 0  # found none free
        self._thing = thing
        self._key = key
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
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"There {are} {self._counted(self.most)} already, and http.{self._key} allows no more",
                    self._key,
                )
            if self._taken[address] >= self.most_each and not exempt:
                self.rejected += 1
                raise Refused(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    f"{address} has {self._counted(self.most_each)}, and http.{self._key}_per_address allows no more",
                    f"{self._key}_per_address",
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
