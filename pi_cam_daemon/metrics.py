"""What /metrics gives, read from the daemon's parts at the moment it is asked for; nothing is counted here.

Imported by the first scrape: prometheus_client costs memory that most cameras never need. The names are a contract with
dashboards and alerts. No label holds what a client can choose: each value of a label is a series for ever.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pi_cam_daemon import __version__, board
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.health import State

if TYPE_CHECKING:
    from pi_cam_daemon.server import CameraServer


class Metrics:
    """The daemon's metrics, and its process's."""

    def __init__(self, server: CameraServer) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Camera(server))
        _Process(registry=self._registry)

    def text(self) -> bytes:
        """All of them now, in Prometheus's text format 0.0.4."""
        return generate_latest(self._registry)


class _Process(ProcessCollector):
    def _boot_time(self) -> float:
        # /proc/stat, where it looks, is hidden by the unit's ProcSubset=pid, and it would then say nothing at all
        return round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))


class _Camera(Collector):
    def __init__(self, server: CameraServer) -> None:
        self._server = server
        self._build = (__version__, platform.python_version(), board.libcamera(), board.model())

    def collect(self) -> Iterable[Metric]:
        server, observer = self._server, self._server.observer
        camera, newest, notifier = observer.camera(), observer.hub.newest, observer.notifier

        build = GaugeMetricFamily(
            "pi_cam_build_info",
            "Versions of the daemon and of what it runs on.",
            labels=("version", "python", "libcamera", "model"),
        )
        build.add_metric(self._build, 1)
        yield build

        state = GaugeMetricFamily("pi_cam_state", "1 for the state that the camera is in.", labels=("state",))
        for word in State:
            state.add_metric((word,), word is camera.state)
        yield state

        yield CounterMetricFamily("pi_cam_frames_captured", "Frames captured by the camera.", camera.captured)
        if newest:
            age = max(0.0, time.monotonic() - newest.captured)
            yield GaugeMetricFamily("pi_cam_frame_age_seconds", "Age of the newest frame; the clock may be wrong.", age)
            yield GaugeMetricFamily(
                "pi_cam_last_frame_timestamp_seconds", "Unix time of the newest frame.", newest.timestamp
            )
        restarts = CounterMetricFamily(
            "pi_cam_camera_restarts", "Times that the camera process failed and was started again.", labels=("reason",)
        )
        for cause, count in camera.restarts.items():
            if cause is not Cause.STARTING:  # no failure
                restarts.add_metric((cause,), count)
        yield restarts
        yield GaugeMetricFamily(
            "pi_cam_rotation_degrees", "Rotation that is configured.", observer.config.video.rotation
        )

        yield GaugeMetricFamily("pi_cam_stream_clients", "Viewers of the stream.", observer.streams.places.taken)
        yield CounterMetricFamily(
            "pi_cam_stream_clients_rejected",
            "Viewers turned away because all their places were taken.",
            observer.streams.places.rejected,
        )
        requests = CounterMetricFamily("pi_cam_http_requests", "Requests answered.", labels=("path", "code"))
        for (path, code), count in server.answered().items():
            requests.add_metric((path, str(code)), count)
        yield requests
        denied = CounterMetricFamily("pi_cam_http_denied", "Connections and requests refused.", labels=("reason",))
        for reason, count in server.denied().items():
            denied.add_metric((reason,), count)
        yield denied

        yield CounterMetricFamily("pi_cam_watchdog_pings", "Times that systemd's watchdog was fed.", notifier.pings)
        yield CounterMetricFamily(
            "pi_cam_watchdog_withheld", "Times that it was not, because a part did not answer.", notifier.withheld
        )
        yield GaugeMetricFamily(
            "pi_cam_config_last_reload_successful", "Whether the last reload was.", not observer.reload_refused
        )
        yield GaugeMetricFamily(
            "pi_cam_config_reload_success_timestamp_seconds",
            "Unix time at which the configuration in force was taken.",
            observer.configured_at,
        )

        if (celsius := board.temperature()) is not None:
            yield GaugeMetricFamily("pi_cam_soc_temperature_celsius", "Temperature of the processor.", celsius)
        if (low := board.undervoltage()) is not None:
            yield GaugeMetricFamily("pi_cam_undervoltage", "Whether the supply's voltage is too low.", low)
