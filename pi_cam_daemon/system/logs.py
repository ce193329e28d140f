"""Logging: one line for each event, for people and for the journal."""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import sys
from collections.abc import Hashable

# sd-daemon(3): the journal takes a priority from the start of a line
_PRIORITIES = {logging.DEBUG: "<7>", logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>"}
_MOST_TOLD = 1024  # remembered messages: one stranger may have endless IPv6 addresses


class LogThrottle:
    """Limits log messages: the same one at most once in *seconds*."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._told: dict[Hashable, float] = {}

    def due(self, message: Hashable, now: float) -> bool:
        """Return whether *message* is to be logged at *now* (CLOCK_MONOTONIC), and remember it if so."""
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


def _printable(text: str) -> str:
    """Escape line feeds and control characters: names, paths and addresses in messages come from strangers."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def setup(level: str) -> None:
    """Log to standard error at *level* (debug, info, warning, error) and above; in the journal's format under systemd.

    A crash, or SIGABRT by systemd's watchdog, also writes the stacks of all threads there.
    """
    stderr = os.fstat(sys.stderr.fileno())
    # the variable alone does not tell: shells inherit it, and redirect
    is_journal = os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(is_journal))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("picamera2").setLevel(logging.WARNING)  # it logs every step at INFO
    # a signal handler in C: works without the main thread and without the GIL
    faulthandler.enable(sys.stderr, all_threads=True)
