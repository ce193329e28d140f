"""Local time, also after the time zone of this machine has changed."""

from __future__ import annotations

import time


def local_time(seconds: float) -> time.struct_time:
    """Return *seconds* since the epoch as local time.

    The C library reads /etc/localtime only once. tzset() reads it again if it has changed, and obeys TZ as before.
    """
    time.tzset()
    return time.localtime(seconds)
