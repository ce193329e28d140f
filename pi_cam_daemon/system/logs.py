"""Logging: one line for each event, for people and for the journal. No thread ever waits for the reader of the log."""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import select
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Hashable

# sd-daemon(3): the journal takes a priority from the start of a line
_PRIORITIES = {logging.DEBUG: "<7>", logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>"}
# text that may wait for the reader of the log; journald takes that much in milliseconds
_MOST_WAITING_BYTES = 256 * 1024
_FLUSH_SECONDS = 0.5  # at the end of the process; a stop may take 5 s in all


class LogThrottle:
    """Limits log messages: the same one at most once in *seconds*, and at most *most* of all of them.

    The second limit is needed because one stranger may have endless IPv6 addresses.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._told: dict[Hashable, float] = {}
        self._left_out = 0

    def due(self, message: Hashable, now: float) -> bool:
        """Return whether *message* is to be logged at *now* (CLOCK_MONOTONIC), and remember it if so."""
        if now - self._told.get(message, -math.inf) < self._seconds:
            return False
        if len(self._told) >= self._most:
            self._told = {told: at for told, at in self._told.items() if now - at < self._seconds}
        if len(self._told) >= self._most:
            self._left_out += 1
            return False
        self._told[message] = now
        return True

    def take_left_out(self) -> int:
        """Return how many messages were over the limit for all since the last call. Repeated ones do not count."""
        left_out, self._left_out = self._left_out, 0
        return left_out


class _Formatter(logging.Formatter):
    def __init__(self, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)s %(message)s")
        self._journal = journal

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        time.tzset()  # the time zone may have changed
        return super().formatTime(record, datefmt)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, "<3>") if self._journal else ""
        return "\n".join(priority + _printable(line) for line in super().format(record).split("\n"))


def _printable(text: str) -> str:
    """Escape line feeds and control characters: names, paths and addresses in messages come from strangers."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class _QueuedHandler(logging.Handler):
    """Writes to standard error in a thread of its own, because a reader that stops reading blocks who writes.

    What does not fit into the queue is dropped; a line in its place tells how many lines.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fd, self._encoding = sys.stderr.fileno(), sys.stderr.encoding
        self._lines: deque[bytes] = deque()  # the first one is being written
        self._bytes = self._dropped = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a line into the queue, or drop it. Never waits."""
        try:
            line = self._encoded(record)
        except (TypeError, ValueError):  # the arguments do not fit the message
            self.handleError(record)
            return
        with self._changed:
            if self._bytes + len(line) > _MOST_WAITING_BYTES:
                self._dropped += 1
            else:
                self._tell_dropped()
                self._append(line)

    def flush(self) -> None:
        """Wait until everything is written, or for half a second."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines, _FLUSH_SECONDS)

    def _encoded(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(self._encoding, "backslashreplace")

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        self._changed.notify_all()

    def _tell_dropped(self) -> None:
        if self._dropped:
            text = f"{self._dropped} lines of the log were dropped, because its reader was too slow"
            record = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
            self._append(self._encoded(logging.makeLogRecord(record)))
            self._dropped = 0

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines[0]
            self._write(line)
            with self._changed:
                self._bytes -= len(self._lines.popleft())
                if not self._lines:
                    self._tell_dropped()
                    self._changed.notify_all()

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:  # another process that has this terminal or pipe made it non-blocking
                select.select([], [self._fd], [])
            except OSError:  # nobody reads the log any more
                return


def setup(level: str) -> None:
    """Log to standard error at *level* (debug, info, warning, error) and above; in the journal's format under systemd.

    A crash, or SIGABRT by systemd's watchdog, also writes the stacks of all threads there.
    """
    stderr = os.fstat(sys.stderr.fileno())
    # the variable alone does not tell: shells inherit it, and redirect
    is_journal = os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
    root = logging.getLogger()
    if not any(isinstance(handler, _QueuedHandler) for handler in root.handlers):
        # a file has no reader, so its lines are written at once
        is_file = stat.S_ISREG(stderr.st_mode)
        handler = logging.StreamHandler(sys.stderr) if is_file else _QueuedHandler()
        handler.setFormatter(_Formatter(is_journal))
        root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("picamera2").setLevel(logging.WARNING)  # it logs every step at INFO
    # a signal handler in C: works without the main thread and without the GIL
    faulthandler.enable(sys.stderr, all_threads=True)
