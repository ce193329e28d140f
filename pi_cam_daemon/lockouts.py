"""Addresses that wrong passwords come from have to wait, the longer the more there were."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from pi_cam_daemon.refused import Reason, Refused

# people who mistype get through; a machine that guesses gets 5 passwords and then one in five minutes
_FREE = 5
_LONGEST_SECONDS = 300.0
# after so long without another one, an address is as good as new
_FORGET_SECONDS = 3600.0
# a stranger with more addresses than this could as well guess from each
_MOST_ADDRESSES = 1024


class Lockouts:
    """How often each address was wrong, and until when it is not listened to; for any thread.

    An IPv6 address counts as its /64: who has one has all of that.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and when the last; oldest first

    def check(self, address: str) -> None:
        """Raises Refused while *address* has to wait."""
        with self._lock:
            count, last = self._failures.get(_block(address), (0, -math.inf))
        wait = last + _seconds(count) - self._clock()
        if wait > 0:
            raise Refused(
                Reason.LOCKOUT,
                f"Too many wrong passwords came from {address}; try again in {math.ceil(wait)} s",
                address,
                math.ceil(wait),
            )

    def failed(self, address: str) -> None:
        """A wrong password came from *address*."""
        now = self._clock()
        block = _block(address)
        with self._lock:
            count, last = self._failures.pop(block, (0, -math.inf))
            self._failures[block] = (count if now - last < _FORGET_SECONDS else 0) + 1, now
            if len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)


def _seconds(count: int) -> float:
    """How long to wait after the *count*-th wrong password: 1, 2, 4 … from the fifth on."""
    return 0.0 if count < _FREE else min(2.0 ** min(count - _FREE, 30), _LONGEST_SECONDS)


def _block(address: str) -> str:
    found = ipaddress.ip_address(address.partition("%")[0])
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
