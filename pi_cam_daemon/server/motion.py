"""/motion: what the camera process sees move now, while somebody asks."""

from __future__ import annotations

import itertools
import threading
import time

from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.ipc.messages import Look
from pi_cam_daemon.server.report import Observer

_ANSWER_SECONDS = 1.0
_FRESH_SECONDS = 0.1  # so long an answer is good for all who ask


class MotionLooks:
    """Asks *supervisor*'s camera process for its newest look. One question is asked at a time. Thread-safe."""

    def __init__(self, supervisor: Supervisor, observer: Observer) -> None:
        self._supervisor = supervisor
        self._observer = observer
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()  # for the two below
        self._newest = Look(0)
        self._answered_at = float("-inf")

    def table(self) -> dict[str, object]:
        """Return the answer of GET /motion. Its *needed* is the share that counts as motion."""
        config = self._observer.config.motion
        look = self._look() if config.enabled else Look(0, suspended="off")
        return {
            "enabled": config.enabled,
            "moving": look.moving,
            "share": round(look.share, 5),
            "needed": config.min_area,
            "suspended": look.suspended,
            "boxes": [[round(side, 4) for side in box] for box in look.boxes],
        }

    def _look(self) -> Look:
        with self._turn:
            if time.monotonic() - self._answered_at > _FRESH_SECONDS:
                try:
                    self._newest = self._supervisor.link().look(next(self._numbers), _ANSWER_SECONDS)
                except (TimeoutError, EOFError):
                    self._newest = Look(0, suspended="no-picture")
                self._answered_at = time.monotonic()
            return self._newest
