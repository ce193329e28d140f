"""Watches for motion: judges each look, and keeps the newest for those who ask."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pi_cam_daemon.config.schema import MotionConfig
from pi_cam_daemon.ipc.messages import Look, Motion

if TYPE_CHECKING:
    from pi_cam_daemon.camera.motion import Detector, Judge
    from pi_cam_daemon.imaging.grey import Pixels


class Watcher:
    """Watches as *config* says. One thread calls `look`; any thread may read the newest look."""

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self.newest = Look(0, suspended="learning")

    def look(self, grey: Pixels, at: float, facts: tuple[float, ...]) -> tuple[Motion, float] | None:
        """Look at an upright picture taken at *at* (CLOCK_MONOTONIC). Return a motion that begins or ends, and when."""
        detector, judge = self._parts
        seen = detector.look(grey, at, facts)
        found = judge.judge(seen, at)
        self.newest = Look(0, seen.share, judge.moving, seen.suspended, seen.boxes)
        return found

    def end(self) -> tuple[Motion, float] | None:
        """End a motion that goes on, as the camera ends. No look may follow."""
        return self._parts[1].end() if self.newest.moving else None

    @cached_property
    def _parts(self) -> tuple[Detector, Judge]:
        # OpenCV is loaded with the first look, in its thread: that takes a Zero 2 W a second
        from pi_cam_daemon.camera.motion import Detector, Judge

        config = self._config
        detector = Detector(config.zones, config.threshold, config.min_area)
        return detector, Judge(config.min_seconds, config.quiet_seconds, config.rate)
