"""What wakes the main thread: signals, and the word of other threads."""

from __future__ import annotations

import contextlib
import queue
import select
import signal
import socket
from collections import deque


class Events:
    """A queue for ONE reader, the main thread, whose signal handlers may put into it.

    In a `queue` a signal can be lost: one that comes when Python has looked for signals last, and does not wait yet,
    interrupts nothing. Here Python itself writes a byte for each signal, which ends a wait that begins later, too.
    """

    def __init__(self) -> None:
        self._found: deque[int | str] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def put(self, event: int | str) -> None:
        """From any thread, and from a signal handler."""
        self._found.append(event)
        with contextlib.suppress(BlockingIOError):  # full: whoever reads is awake
            self._writer.send(b"\0")

    def get(self, timeout: float | None) -> int | str:
        """The oldest event; queue.Empty when none has come within *timeout* seconds."""
        while not self._found:
            if not select.select([self._reader], [], [], timeout)[0]:
                raise queue.Empty
            self._reader.recv(4096)
        return self._found.popleft()
