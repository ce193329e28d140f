"""One line per event, for people and for the journal."""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import sys
from collections.abc import Hashable

# sd-daemon(3): the journal takes a priority from the start of a line
_PRIORITIES = {logging.DEBUG: "<7>", logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>"}


# Different things that are remembered as told: with an IPv6 network behind him, one stranger has addresses without end.
_MOST_TOLD = 1024


class LogThrottle:
    """Tells which messages are due, so that the same one comes once in *seconds*, however often there is cause."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._told: dict[Hashable, float] = {}

    def due(self, message: Hashable, now: float) -> bool:
        """Whether *message* is to be told at *now*; it then counts as told."""
        if len(self._told) >= _MOST_TOLD:
            self._told = {told: at for told, at in self._told.items() if now - at < self._seconds}
        if now - self._told.get(message, -math.inf) < self._seconds or len(self._told) >= _MOST_TOLD:
            return False
        self._told[message] = now
        return True


class _Formatter(logging.Formatter):
    def __init__(self, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)s %(message)s")
        self._journal = journal

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, "<3>") if self._journal else ""
        return "\n".join(priority + _printable(line) for line in super().format(record).split("\n"))


def _is_journal(fd: int) -> bool:
    """Whether *fd* leads to the journal itself; the variable alone is inherited by shells and survives redirection."""
    status = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _printable(text: str) -> str:
    """Names, paths and addresses come from strangers: no line feed or escape sequence of theirs gets through."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def setup(level: str) -> None:
    """Log to standard error at *level* (debug, info, warning, error) and above; in the journal's form under systemd.

    A crash, and SIGABRT, with which systemd's watchdog ends a service, leaves the stacks of all threads there.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(_is_journal(sys.stderr.fileno())))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # picamera2 tells every step of its life at INFO
    logging.getLogger("picamera2").setLevel(logging.WARNING)
    # from a signal handler in C: it needs neither the main thread nor the interpreter's lock
    faulthandler.enable(sys.stderr, all_threads=True)
