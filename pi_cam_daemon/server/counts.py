"""Counters for /metrics: requests answered, clients refused, threads that failed. Also logs refusals."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.system.logs import LogThrottle

log = logging.getLogger(__name__)

# one log line per client and reason in so many seconds, and so many lines for all clients
_REFUSAL_SECONDS = 60.0
_MOST_REFUSALS = 20


class Counts:
    """Counters by labels that no client can choose. Thread-safe. A reader copies `answered`, which grows, first.

    *where* says for the log in which file a setting belongs, and what puts it into force.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self.answered: Counter[tuple[str, int]] = Counter()  # by endpoint and status
        self.denied = Counter(dict.fromkeys((reason.label for reason in Reason if reason.key), 0))
        # by thread; only these may fail and go on
        self.failed = Counter(dict.fromkeys(("request", "card", "events", "event-streams", "webhook", "other"), 0))
        self._lock = threading.Lock()
        self._logged = LogThrottle(_REFUSAL_SECONDS, _MOST_REFUSALS)

    def answer(self, endpoint: str, status: int) -> None:
        """Count a request to *endpoint*, one of a fixed set, that was answered with *status*."""
        with self._lock:
            self.answered[endpoint, status] += 1

    def deny(self, refused: Refused, client: str) -> None:
        """Count and log a refusal of *client*, if a setting governs it."""
        if not (refused.reason and refused.reason.key):
            return
        client = refused.client or client
        with self._lock:
            self.denied[refused.reason.label] += 1
            due = self._logged.due((refused.reason, client), time.monotonic())
            left_out = self._logged.take_left_out() if due else 0
        if due:
            if left_out:
                log.warning("%d refusals were not logged, because there were too many; /metrics counts all", left_out)
            text, key = refused.text.partition("\n")[0], f"http.{refused.reason.key}"
            if refused.setting:
                text += f" If it should, set {refused.setting} {self._where}"
            elif key not in text:
                text += f" ({key})"
            log.warning("refused %s: %s", client, text)

    def fail(self, thread: str) -> None:
        """Count an unexpected exception in the thread of this name."""
        with self._lock:
            self.failed[thread if thread in self.failed else "other"] += 1
