"""State of the daemon and its camera, for /state, /healthz and the status of the systemd unit."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pi_cam_daemon import __version__
from pi_cam_daemon.config import saved
from pi_cam_daemon.config.loading import Loaded
from pi_cam_daemon.core.health import CameraStatus, State
from pi_cam_daemon.core.latest import LatestFrame
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.ipc.messages import CameraInfo
from pi_cam_daemon.server.streams import Streams
from pi_cam_daemon.system import machine, pulled, pushed, recordings, setup
from pi_cam_daemon.system.systemd import Notifier

_MOST_PROBLEMS = 20  # of the configuration, in /state
_LATE = "The camera gave no picture in time"
_SAME_RATE = 0.1  # a share of the announced rate; a smaller difference is not shown
_CAMERA_KEYS = ("name", "width", "height", "framerate", "pixel_format", "encoder")


class Observer:
    """Reports the state of the other parts, and changes nothing.

    *config* is in force, and was read at *configured_at* (Unix time). *config_refused* says that the files on disk are
    not in force.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        latest: LatestFrame,
        small: LatestFrame,
        streams: Streams,
        notifier: Notifier,
        loaded: Loaded,
    ) -> None:
        self.latest = latest
        self._small = small
        self.streams = streams
        self.notifier = notifier
        self._supervisor = supervisor
        self._started_at = time.monotonic()
        self.mqtt: Callable[[], dict[str, object] | None] = lambda: None  # what the connection to the broker says
        self.configure(loaded)

    def configure(self, loaded: Loaded) -> None:
        """Report *loaded* as the configuration in force. Its hash is without what was saved, which is no drift."""
        self.config = loaded.config
        self._config_sha256 = loaded.configured.sha256
        self.configured_at = time.time()
        self._refused: tuple[float, list[str]] | None = None

    def refuse(self, problems: list[str]) -> None:
        """Report that the files on disk are not in force, since the first call after `configure`, due to *problems*."""
        since = self._refused[0] if self._refused else time.monotonic()
        self._refused = since, problems

    @property
    def config_refused(self) -> dict[str, object] | None:
        """Return since when and why the files on disk are not in force; None if they are."""
        if not (refused := self._refused):
            return None
        since, problems = refused
        shown = problems[:_MOST_PROBLEMS]
        if more := len(problems) - len(shown):
            shown = [*shown, f"and {more} more"]
        return {"since_seconds": round(time.monotonic() - since, 3), "problems": shown}

    @property
    def name(self) -> str:
        """Return the camera's name for people: page.name, or else the machine's name."""
        return self.config.page.name or platform.node()

    def camera(self) -> CameraStatus:
        return self._supervisor.status()

    def sentence(self, status: CameraStatus | None = None) -> str:
        """Return *status*, by default the present one, as a sentence."""
        status = status or self.camera()
        info, text = status.info, "The camera is starting"
        if status.state is State.STREAMING and info:
            width, height = self._size(info)
            text = f"Streaming {width}x{height}{_rate(status.rate, info.framerate)} from {info.name}"
        elif status.state is State.IDLE:
            text = "Nobody watches, so the camera sleeps"
        elif status.failure:
            text = status.failure.message
        elif status.unusable:
            text = f"The camera's pictures cannot be used: {status.unusable}"
        elif status.state is State.STALLED:
            text = _LATE
        return text + ("; a reboot was asked for" if self.notifier.reboot_requested else "")

    def _size(self, info: CameraInfo) -> tuple[int, int]:
        """Return the size of the newest picture; before the first one, what the camera announced. They may differ."""
        return self.latest.size() or (info.width, info.height)

    def _described(self, info: CameraInfo) -> dict[str, object]:
        table: dict[str, object] = {key: getattr(info, key) for key in _CAMERA_KEYS}
        table["width"], table["height"] = self._size(info)
        return table

    def status_line(self) -> str:
        """Return the present state for the systemd unit, also if the files on disk are not in force."""
        if not (refused := self._refused):
            return self.sentence()
        first, *others = refused[1]
        more = f" (and {len(others)} more)" if others else ""
        return f"{self.sentence()}; the configuration on disk is refused: {first}{more}"

    def no_picture(self) -> str:
        """Return why there is no picture, and the hint, as paragraphs separated by an empty line."""
        status = self.camera()
        if status.state.ok:
            return _LATE
        hint = status.failure.hint if status.failure else ""
        return "\n\n".join(filter(None, (self.sentence(status), hint)))

    def _values(self, status: CameraStatus) -> Mapping[str, str]:
        """Return the names and numbers in detail and hint, for a page in another language; {} for a healthy camera."""
        if status.state.ok:
            return {}
        if status.failure:
            return status.failure.values
        return {"error": status.unusable} if status.unusable else {}

    def table(self) -> dict[str, object]:
        """Return the answer of /state. All *_seconds are durations, not timestamps."""
        now = time.monotonic()
        status = self.camera()
        config, info = self.config, status.info
        small_width, small_height = self._small.size() or (None, None)
        kind, reason = (info.kind, info.reason) if info else (None, "")
        failure = None if status.state is State.STREAMING else status.failure
        return {
            "version": __version__,
            "release": _release(),
            "config_sha256": self._config_sha256,
            "config_refused": self.config_refused,
            "time": round(time.time(), 3),
            "name": self.name,
            "state": status.state,
            "ok": status.state.ok,
            "detail": self.sentence(status),
            "cause": None if status.state.ok else status.cause,
            "hint": failure.hint if failure else "",
            "values": self._values(status),
            "since_seconds": round(now - status.since, 3),
            "reboot_requested": self.notifier.reboot_requested,
            "source": {
                "configured": config.source.kind,
                "kind": kind,
                "reason": reason,
                "stand_in": status.stands_in,
                "last": status.last or None,
            },
            "camera": self._described(info) if info else None,
            "frames": {
                "captured": status.captured,
                "rate": round(status.rate, 2),
                "period_seconds": round(status.measured or 1 / (info or config.video).framerate, 3),
                "age_seconds": _age(self.latest, now),
            },
            "small": {
                "width": small_width,
                "height": small_height,
                "frames": {"age_seconds": _age(self._small, now)},
                "viewers": self.streams.by_size()["small"],
            },
            "viewers": self.streams.quota.taken,
            "wall_cameras": len(config.wall.cameras),
            "max_viewers": config.http.max_viewers,
            "camera_process": {"pid": status.pid, "starts": status.starts},
            "clock_synced": machine.clock_synced(),
            "update": pulled.report(),
            "mqtt": self.mqtt(),
            "recordings": recordings.PLACE.report(saved.folder()),
            "push": pushed.PLACE.report(saved.folder()),
            "uptime_seconds": round(now - self._started_at, 3),
        }


def _age(latest: LatestFrame, now: float) -> float | None:
    return round(max(0.0, now - newest.captured), 3) if (newest := latest.frame) else None


def _rate(measured: float, announced: float) -> str:
    """Return the rate as a part of a sentence: the measured one if it is another than the *announced* one."""
    if not measured:
        return ""
    if abs(measured - announced) < _SAME_RATE * announced:
        return f" at {announced:g} frames/s"
    return f" at {measured:.0f} frames/s" if measured >= 10 else f" at {measured:.2g} frames/s"


def _release() -> str | None:
    """Return the installed release of this process; None if it was not installed by the installer."""
    prefix = Path(sys.prefix)
    return prefix.name if prefix.parent == Path("/") / setup.RELEASES else None
