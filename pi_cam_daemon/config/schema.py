"""The sections and keys of the configuration, with types and ranges. default.toml has their meanings and defaults."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, get_type_hints

from pi_cam_daemon.config import converters, kinds
from pi_cam_daemon.config.addresses import Networks
from pi_cam_daemon.system.redaction import without_secrets

# Even, because JPEG halves the colour resolution (4:2:0); its blocks are 16 pixels. Nobody streams more than 8192, and
# a typing error such as 64000 would end in a camera without memory.
SIDES = range(16, 8192 + 1, 2)
ROTATIONS = 0, 90, 180, 270


def _word(*words: str) -> converters.Converter:
    return converters.or_default(converters.choice(*words))


def _number(low: float, high: float) -> converters.Converter:
    return converters.or_default(converters.number(low, high))


@dataclass(frozen=True)
class SourceConfig:
    """[source]: the camera, and when it runs."""

    kind: Annotated[str, converters.choice(*kinds.KINDS)]
    capture: Annotated[str, converters.choice("always", "on-demand")]
    idle_seconds: Annotated[float, converters.number(0, 86400)]
    start_timeout_seconds: Annotated[float, converters.number(1, 600)]
    stall_timeout_seconds: Annotated[float, converters.number(1, 600)]


@dataclass(frozen=True)
class VideoConfig:
    """[video]: the picture, for every kind of camera."""

    width: Annotated[int, converters.integer(SIDES[0], SIDES[-1], SIDES.step)]
    height: Annotated[int, converters.integer(SIDES[0], SIDES[-1], SIDES.step)]
    # astronomers expose for up to 100 s; 0 would make a frame endless
    framerate: Annotated[float, converters.number(0.01, 240)]
    rotation: Annotated[int, converters.choice(*ROTATIONS)]
    rotation_method: Annotated[str, converters.choice("pixels", "exif")]
    hflip: bool
    vflip: bool
    quality: Annotated[int, converters.integer(1, 100)]
    overlay: Annotated[str, converters.overlay]
    masks: Annotated[list[list[float]], converters.rectangles]


@dataclass(frozen=True)
class SmallConfig:
    """[small]: the small pictures, which are made while somebody watches them."""

    width: Annotated[int, converters.integer(64, 1200)]
    framerate: Annotated[float, converters.number(0.1, 60)]
    quality: Annotated[int, converters.integer(1, 100)]


@dataclass(frozen=True)
class CsiConfig:
    """[csi]: settings of cameras on the ribbon connector only."""

    camera: Annotated[str, converters.camera]
    tuning_file: str
    # picamera2's hardware encoder has 16 slots; with more frames it blocks for ever, holding its locks
    buffer_count: Annotated[int, converters.integer(2, 8)]


@dataclass(frozen=True)
class ControlsConfig:
    """[controls]: initial controls of a CSI camera, named as in rpicam-apps. None is the camera's default."""

    awb: Annotated[str | None, _word("auto", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy")]
    ev: Annotated[float | None, _number(-8, 8)]
    exposure: Annotated[str | None, _word("normal", "sport", "long")]
    # as long as the longest frame of video.framerate
    shutter: Annotated[int | None, converters.or_default(converters.integer(1, 100_000_000, zero=True))]
    gain: Annotated[float | None, converters.or_default(converters.number(1, 256, zero=True))]
    metering: Annotated[str | None, _word("centre", "spot", "average")]
    brightness: Annotated[float | None, _number(-1, 1)]
    contrast: Annotated[float | None, _number(0, 32)]
    saturation: Annotated[float | None, _number(0, 32)]
    sharpness: Annotated[float | None, _number(0, 16)]
    denoise: Annotated[str | None, _word("off", "cdn_off", "cdn_fast", "cdn_hq")]
    autofocus_mode: Annotated[str | None, _word("manual", "auto", "continuous")]
    autofocus_range: Annotated[str | None, _word("normal", "macro", "full")]
    autofocus_speed: Annotated[str | None, _word("normal", "fast")]
    autofocus_window: Annotated[list[float] | None, converters.or_default(converters.rectangle)]
    lens_position: Annotated[float | None, _number(0, 32)]
    roi: Annotated[list[float] | None, converters.or_default(converters.rectangle)]
    flicker_period: Annotated[int | None, converters.or_default(converters.integer(100, 1_000_000, zero=True))]
    hdr: Annotated[str | None, _word("off", "single-exp")]

    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def with_settings(self, settings: Mapping[str, Any]) -> ControlsConfig:
        return replace(self, **settings)


@dataclass(frozen=True)
class UsbConfig:
    """[usb]: settings of USB (V4L2) cameras only."""

    device: str
    pixel_format: Annotated[str, converters.choice("auto", "MJPG", "YUYV")]
    controls: Annotated[dict[str, bool | int | str | None], converters.by_name]

    def settings(self) -> dict[str, Any]:
        return dict(self.controls)

    def with_settings(self, settings: Mapping[str, Any]) -> UsbConfig:
        return replace(self, controls={**self.controls, **settings})


@dataclass(frozen=True)
class UpstreamConfig:
    """[upstream]: the MJPEG stream of another server."""

    url: Annotated[str, converters.url]
    read_timeout_seconds: Annotated[float, converters.number(1, 600)]
    tls_fingerprint: Annotated[str, converters.fingerprint]


# Limits of the numbers of [motion]. A rate above 15 would take a Zero 2 W more than the pictures do.
MOTION = {
    "rate": (1, 15),
    "threshold": (0.02, 0.9),
    "min_area": (0.0005, 1),
    "min_seconds": (0, 60),
    "quiet_seconds": (1, 600),
}


@dataclass(frozen=True)
class MotionConfig:
    """[motion]: what counts as motion."""

    enabled: bool
    rate: Annotated[float, converters.number(*MOTION["rate"])]
    zones: Annotated[list[list[float]], converters.rectangles]
    threshold: Annotated[float, converters.number(*MOTION["threshold"])]
    min_area: Annotated[float, converters.number(*MOTION["min_area"])]
    min_seconds: Annotated[float, converters.number(*MOTION["min_seconds"])]
    quiet_seconds: Annotated[float, converters.number(*MOTION["quiet_seconds"])]


@dataclass(frozen=True)
class HttpConfig:
    """[http]: the listening address, access rules, limits and time-outs."""

    listen_address: Annotated[str, converters.address]
    port: Annotated[int, converters.integer(0, 65535)]
    allowed_networks: Annotated[Networks, converters.networks]
    allowed_hosts: Annotated[tuple[str, ...], converters.hosts]
    trusted_proxies: Annotated[Networks, converters.proxies]
    users_file: Annotated[str, converters.path]
    tls_certificate: Annotated[str, converters.path]
    tls_key: Annotated[str, converters.path]
    cors_origins: Annotated[tuple[str, ...], converters.origins]
    frame_ancestors: Annotated[tuple[str, ...], converters.origins]
    # a connection takes a file descriptor, and outside the stream loop a thread: the unit's TasksMax is higher
    max_viewers: Annotated[int, converters.integer(1, 1000)]
    max_viewers_per_address: Annotated[int, converters.integer(1, 1000)]
    max_tls_viewers: Annotated[int, converters.integer(1, 1000)]
    max_event_streams: Annotated[int, converters.integer(1, 1000)]
    # one picture is always allowed to wait, so that no setting refuses them all
    max_pending_bytes: Annotated[int, converters.integer(1 << 20, 1 << 30)]
    max_connections: Annotated[int, converters.integer(1, 1000)]
    max_connections_per_address: Annotated[int, converters.integer(1, 1000)]
    # the minima are far above the requests of browsers and programs, so that no setting refuses them all
    max_request_line_bytes: Annotated[int, converters.integer(256, 65536)]
    max_header_bytes: Annotated[int, converters.integer(1024, 262144)]
    max_body_bytes: Annotated[int, converters.integer(1024, 1048576)]
    request_timeout_seconds: Annotated[float, converters.number(1, 600)]
    keep_alive_seconds: Annotated[float, converters.number(1, 600)]
    max_requests_per_connection: Annotated[int, converters.integer(1, 1000000)]
    viewer_timeout_seconds: Annotated[float, converters.number(1, 3600)]

    @property
    def scheme(self) -> str:
        """Return the scheme of the page's address."""
        return "https" if self.tls_certificate else "http"


@dataclass(frozen=True)
class MqttConfig:
    """[mqtt]: the broker that gets state and events of the camera."""

    host: Annotated[str, converters.broker]
    port: Annotated[int, converters.integer(1, 65535)]
    user: str
    password_file: Annotated[str, converters.path]
    tls: bool
    tls_ca: Annotated[str, converters.path]
    client_id: Annotated[str, converters.identity]
    topic: Annotated[str, converters.topic]


@dataclass(frozen=True)
class PageConfig:
    """[page]: the camera's name and the language, for people."""

    name: Annotated[str, converters.name]
    language: Annotated[str, converters.choice("auto", "en", "ko")]


@dataclass(frozen=True)
class WallConfig:
    """[wall]: the cameras that are shown together."""

    cameras: Annotated[tuple[str, ...], converters.cameras]


@dataclass(frozen=True)
class HealthConfig:
    """[health]: the reboot, the last resort."""

    reboot_after_minutes: Annotated[float, converters.number(0, 10080)]


@dataclass(frozen=True)
class EventsConfig:
    """[events]: who is told what happens."""

    webhook_url: Annotated[str, converters.webhook]
    webhook_secret_file: Annotated[str, converters.path]


@dataclass(frozen=True)
class RecordingsConfig:
    """[recordings]: the clips that the recorder writes."""

    folder: Annotated[str, converters.path]
    clips: bool
    before_seconds: Annotated[float, converters.number(0, 60)]
    after_seconds: Annotated[float, converters.number(1, 600)]
    longest_seconds: Annotated[float, converters.number(10, 3600)]
    quota_mb: Annotated[int, converters.integer(1, 100_000_000)]
    keep_free_percent: Annotated[float, converters.number(0, 90)]


@dataclass(frozen=True)
class TimelapseConfig:
    """[timelapse]: pictures at fixed times, of which the recorder makes a film for each day."""

    every_seconds: Annotated[int, converters.integer(1, 86_400, zero=True)]
    picture: Annotated[str, converters.choice("snapshot", "still")]
    start: Annotated[str, converters.time_of_day]
    end: Annotated[str, converters.time_of_day]
    days_kept: Annotated[int, converters.integer(1, 10_000)]


@dataclass(frozen=True)
class PushConfig:
    """[push]: the other machine that gets the recordings."""

    url: Annotated[str, converters.destination]
    credentials_file: Annotated[str, converters.path]
    delete_after: bool


@dataclass(frozen=True)
class UpdateConfig:
    """[update]: the release that this machine installs by itself."""

    url: Annotated[str, converters.release]


@dataclass(frozen=True)
class LogConfig:
    """[log]: how much is logged."""

    level: Annotated[str, converters.choice("debug", "info", "warning", "error")]


@dataclass(frozen=True)
class CameraConfig:
    """The part for the camera process, sent as JSON. A change restarts that process."""

    kind: str
    video: VideoConfig
    small: SmallConfig
    csi: CsiConfig
    controls: ControlsConfig
    usb: UsbConfig
    upstream: UpstreamConfig
    motion: MotionConfig

    def settings(self, kind: str) -> dict[str, Any]:
        """Return the configured controls for a camera of *kind*; None is the camera's default."""
        section = kinds.of(kind).section
        return getattr(self, section).settings() if section else {}

    def with_settings(self, kind: str, settings: Mapping[str, Any]) -> CameraConfig:
        """Return a copy in which *settings* replace controls for a camera of *kind*."""
        section = kinds.of(kind).section
        return replace(self, **{section: getattr(self, section).with_settings(settings)}) if section else self

    def replaced(self, kind: str, other: CameraConfig) -> CameraConfig:
        """Return a copy with the controls that *other* has for a camera of *kind*."""
        section = kinds.of(kind).section
        return replace(self, **{section: getattr(other, section)}) if section else self

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> CameraConfig:
        """Parse the result of `to_json`, without checking the values again."""
        types = get_type_hints(cls)
        parts = json.loads(data)
        return cls(**{name: types[name](**part) if isinstance(part, dict) else part for name, part in parts.items()})


@dataclass(frozen=True)
class Config:
    """The whole configuration: one attribute for each section."""

    source: SourceConfig
    video: VideoConfig
    small: SmallConfig
    csi: CsiConfig
    controls: ControlsConfig
    usb: UsbConfig
    upstream: UpstreamConfig
    motion: MotionConfig
    http: HttpConfig
    mqtt: MqttConfig
    page: PageConfig
    wall: WallConfig
    events: EventsConfig
    health: HealthConfig
    recordings: RecordingsConfig
    timelapse: TimelapseConfig
    push: PushConfig
    update: UpdateConfig
    log: LogConfig

    @property
    def camera(self) -> CameraConfig:
        kind, motion = self.source.kind, self.motion
        return CameraConfig(kind, self.video, self.small, self.csi, self.controls, self.usb, self.upstream, motion)

    def value(self, key: str) -> Any:
        """Return the value of *key*, a `section.key`."""
        section, _, name = key.partition(".")
        return getattr(getattr(self, section), name)

    def with_values(self, values: Mapping[str, Any]) -> Config:
        """Return a copy in which *values*, by `section.key`, replace settings. They are not checked."""
        changed = self
        for key, value in values.items():
            section, _, name = key.partition(".")
            changed = replace(changed, **{section: replace(getattr(changed, section), **{name: value})})
        return changed

    @property
    def sha256(self) -> str:
        """Return a hash of all settings, without the passwords in URLs."""
        tables = asdict(self)
        tables["upstream"]["url"] = without_secrets(self.upstream.url)
        tables["events"]["webhook_url"] = without_secrets(self.events.webhook_url)
        return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()
