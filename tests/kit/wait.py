"""Wait for what has to come, and find a free port."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import Any

from tests.kit.lateness import patience


def until(what: str, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return the first true value of *condition*; fail when there is none within *seconds* of a quiet machine."""
    begun = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - begun
        assert waited < patience(seconds), f"not within {waited:.1f} s: {what}"
        time.sleep(0.01)
    return value


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody else is given meanwhile: none of those that the kernel gives out."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port
