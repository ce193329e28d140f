"""What the daemon knows of itself, put together for /state, /healthz and the unit's status."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

from pi_cam_daemon import __version__
from pi_cam_daemon.config.schema import Config
from pi_cam_daemon.core.health import CameraStatus, State
from pi_cam_daemon.core.latest import LatestFrame
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.server.streams import Streams
from pi_cam_daemon.system import machine, setup
from pi_cam_daemon.system.systemd import Notifier

_CAMERA_KEYS = ("name", "width", "height", "framerate", "pixel_format", "encoder")


class Observer:
    """Reads supervisor, latest, streams and notifier; changes nothing.

    *config* is in force since *configured_at* (Unix time); *reload_refused* tells that a later one was not taken.
    """

    def __init__(
        self, supervisor: Supervisor, latest: LatestFrame, streams: Streams, notifier: Notifier, config: Config
    ) -> None:
        self.latest = latest
        self.streams = streams
        self.notifier = notifier
        self._supervisor = supervisor
        self._started_at = time.monotonic()
        self.configure(config)

    def configure(self, config: Config) -> None:
        """*config* is in force from now on."""
        self.config = config
        self.config_sha256 = config.sha256
        self.configured_at = time.time()
        self.reload_refused = False

    def camera(self) -> CameraStatus:
        return self._supervisor.status()

    def sentence(self, status: CameraStatus | None = None) -> str:
        """Return the state, as of *status* or else of now, in one sentence for a person."""
        reboot = "; a reboot was asked for" if self.notifier.reboot_requested else ""
        return _sentence(status or self.camera()) + reboot

    def no_picture(self) -> str:
        """Return why somebody who asked for a picture gets none, and what helps against it."""
        status = self.camera()
        if status.state.ok:
            return "The camera gave no picture in time"
        hint = status.failure.hint if status.failure else ""
        return "\n\n".join(filter(None, (self.sentence(status), hint)))

    def table(self) -> dict[str, object]:
        """Everything, as /state gives it. Seconds are ages or spans, never moments."""
        now = time.monotonic()
        status = self.camera()
        newest = self.latest.frame
        info = status.info
        failure = None if status.state is State.STREAMING else status.failure
        return {
            "version": __version__,
            "release": _release(),
            "config_sha256": self.config_sha256,
            "name": platform.node(),
            "state": status.state,
            "ok": status.state.ok,
            "detail": self.sentence(status),
            "cause": None if status.state.ok else status.cause,
            "hint": failure.hint if failure else "",
            "since_seconds": round(now - status.since, 3),
            "reboot_requested": self.notifier.reboot_requested,
            "source": {
                "configured": self.config.source.kind,
                "kind": info.kind if info else None,
                "reason": info.reason if info else "",
            },
            "camera": {key: getattr(info, key) for key in _CAMERA_KEYS} if info else None,
            "frames": {
                "captured": status.captured,
                "rate": round(status.rate, 2),
                "age_seconds": round(max(0.0, now - newest.captured), 3) if newest else None,
            },
            "viewers": self.streams.quota.taken,
            "wall_cameras": len(self.config.wall.cameras),
            "max_viewers": self.config.http.max_viewers,
            "camera_process": {"pid": status.pid, "starts": status.starts},
            "clock_synced": machine.clock_synced(),
            "uptime_seconds": round(now - self._started_at, 3),
        }


def _release() -> str | None:
    """The installed release that this process is of, None where it runs from elsewhere."""
    prefix = Path(sys.prefix)
    return prefix.name if prefix.parent == Path("/") / setup.RELEASES else None


def _sentence(status: CameraStatus) -> str:
    info = status.info
    if status.state is State.STREAMING and info:
        return f"Streaming {info.width}x{info.height} at {info.framerate:g} frames/s from {info.name}"
    if status.state is State.IDLE:
        return "Nobody watches, so the camera sleeps"
    if status.failure:
        return status.failure.message
    return "The camera is starting"
