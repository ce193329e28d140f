"""Queue of what wakes the main thread: signals, and messages of other threads."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections import deque


class Wakeups:
    """A queue for ONE reader, the main thread, whose signal handlers may put into it.

    `queue.Queue` can miss a signal that arrives after Python's last check for signals and before the wait. Here Python
    itself writes a byte for each signal (`set_wakeup_fd`), which also ends a wait that begins later.
    """

    def __init__(self) -> None:
        self._found: deque[int | str] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def put(self, wakeup: int | str) -> None:
        """Add a wakeup. Any thread and any signal handler may call this."""
        self._found.append(wakeup)
        with contextlib.suppress(BlockingIOError):  # full: the reader is awake
            self._writer.send(b"\0")

    def get(self, timeout: float | None) -> int | str | None:
        """Return the oldest wakeup, or None when none has come within *timeout* seconds."""
        while not self._found:
            if not select.select([self._reader], [], [], timeout)[0]:
                return None
            self._reader.recv(4096)
        return self._found.popleft()
