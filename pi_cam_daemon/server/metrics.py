"""Metrics of the daemon and its process in Prometheus's text format, read from the daemon's parts for each scrape.

Imported by the first scrape, because prometheus_client needs memory. Dashboards and alerts rely on the names. No label
has values that a client can choose, because each value makes a series that stays.
"""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pi_cam_daemon import __version__
from pi_cam_daemon.core.health import State
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.system import machine, pulled

if TYPE_CHECKING:
    from pi_cam_daemon.server.app import App


class Metrics:
    """Metrics of the daemon and its process."""

    def __init__(self, app: App) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Camera(app))
        _Process(registry=self._registry)

    def text(self) -> bytes:
        """Return the present values in Prometheus's text format 0.0.4."""
        return generate_latest(self._registry)


class _Process(ProcessCollector):
    def _boot_time(self) -> float:
        # The library reads /proc/stat, which the unit's ProcSubset=pid hides; it would then give no metrics at all.
        return round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))


class _Camera(Collector):
    def __init__(self, app: App) -> None:
        self._app = app
        self._build = (__version__, platform.python_version(), machine.libcamera(), machine.model())

    def collect(self) -> Iterable[Metric]:
        app, observer = self._app, self._app.observer
        counts, camera, newest, notifier = app.counts, observer.camera(), app.big.latest.frame, observer.notifier
        states = {word: word is camera.state for word in State}
        failures = {cause: count for cause, count in camera.restarts.items() if cause is not Cause.STARTING}
        requests = {(path, str(code)): count for (path, code), count in counts.answered.copy().items()}
        about, labels = "Versions of the daemon and of what it runs on.", ("version", "python", "libcamera", "model")
        yield _gauge("build_info", about, {self._build: 1}, *labels)
        yield _gauge("state", "1 for the state that the camera is in.", states, "state")
        if camera.info:
            kind = (observer.config.source.kind, camera.info.kind, str(int(camera.stands_in)), camera.last)
            about = "The kind of camera. stand_in: a test picture takes its place. last: the kind that gave pictures."
            yield _gauge("source_info", about, {kind: 1}, "configured", "kind", "stand_in", "last")
        yield _counter("frames_captured", "Frames captured by the camera.", camera.captured)
        yield _gauge("frame_rate", "Frames a second that the camera gives, measured.", camera.rate)
        if newest:
            age = max(0.0, time.monotonic() - newest.captured)
            yield _gauge("frame_age_seconds", "Age of the newest frame, by the monotonic clock.", age)
            yield _gauge("last_frame_timestamp_seconds", "Unix time of the newest frame.", newest.timestamp_us / 1e6)
        if app.small.demand.present and (small := app.small.latest.frame):
            age = max(0.0, time.monotonic() - small.captured)
            yield _gauge("small_frame_age_seconds", "Age of the newest small frame, while one is asked for.", age)
        about = "Times that the camera process failed and was started again."
        yield _counter("camera_restarts", about, failures, "reason")
        yield _gauge("rotation_degrees", "Rotation that is configured.", observer.config.video.rotation)
        yield _gauge("stream_clients", "Viewers of the stream.", app.streams.quota.taken)
        about = "Viewers of the stream by the size of their pictures."
        yield _gauge("stream_clients_by_size", about, app.streams.by_size(), "size")
        about = "Viewers refused because of the limits on viewers."
        yield _counter("stream_clients_rejected", about, app.streams.quota.rejected)
        about = "Clients disconnected because they took too little, or kept too many pictures in memory."
        yield _counter("slow_clients_dropped", about, app.streams.answers.dropped, "reason")
        yield _counter("events", "What happened, by kind.", app.events.counted, "kind")
        yield _gauge("event_streams", "Listeners to events.", app.event_streams.quota.taken)
        if app.webhook:
            about = "Events for the webhook: delivered, failed after all attempts, or dropped from a full queue."
            yield _counter("webhook_events", about, app.webhook.counted, "result")
        yield _counter("http_requests", "Requests answered.", requests, "path", "code")
        yield _counter("http_denied", "Connections and requests refused.", counts.denied, "reason")
        yield _counter("thread_errors", "Bugs that ended a request or another thread.", counts.failed, "thread")
        yield _counter("watchdog_pings", "Times that systemd's watchdog was fed.", notifier.pings)
        about = "Times that the watchdog was not fed, because a thread did not answer."
        yield _counter("watchdog_withheld", about, notifier.withheld)
        about = "Whether the configuration on disk was in order when it was last read, at the start or at a reload."
        yield _gauge("config_last_reload_successful", about, observer.config_refused is None)
        about = "Unix time at which the configuration in force was loaded."
        yield _gauge("config_reload_success_timestamp_seconds", about, observer.configured_at)
        if (update := pulled.read()).result:
            yield from update_metrics(update)
        if mqtt := observer.mqtt():
            yield _gauge("mqtt_connected", "Whether the MQTT broker is connected.", bool(mqtt["connected"]))
        if (celsius := machine.temperature()) is not None:
            yield _gauge("soc_temperature_celsius", "Temperature of the processor.", celsius)
        if (low := machine.undervoltage()) is not None:
            yield _gauge("undervoltage", "Whether the supply's voltage is too low.", low)


def update_metrics(record: pulled.Record) -> Iterable[Metric]:
    """Yield what the last check for an update found."""
    about = "The result of the last check for an update, and the release that was offered."
    yield _gauge("update_info", about, {(record.result, record.offered): 1}, "result", "offered")
    yield _gauge("update_checked_timestamp_seconds", "Unix time of the last check for an update.", record.checked_at)
    about = "Whether this machine has what was offered when it last checked for an update."
    yield _gauge("update_ok", about, pulled.Result(record.result).ok)


def _metric(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    name: str,
    about: str,
    value: float | Mapping[Any, float],
    *labels: str,
) -> Metric:
    """Return a metric: one number, or numbers by label value, or by a tuple of them, for *labels*."""
    family = kind(f"pi_cam_{name}", about, labels=labels)
    for label, number in (value if isinstance(value, Mapping) else {(): value}).items():
        family.add_metric(label if isinstance(label, tuple) else (label,), number)
    return family


_gauge = functools.partial(_metric, GaugeMetricFamily)
_counter = functools.partial(_metric, CounterMetricFamily)
