from __future__ import annotations

import contextlib
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pi_cam_daemon.config import converters, loading
from pi_cam_daemon.config.addresses import Networks
from pi_cam_daemon.config.loading import load, origins
from pi_cam_daemon.config.schema import CameraConfig, Config
from pi_cam_daemon.config.text import toml
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.server.access import Access, AllowedNetworks, own_networks
from pi_cam_daemon.server.hosts import HostPolicy
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.request import parse

NOWHERE = Path("/nonexistent/pi-cam-daemon")


def value(setting: str) -> Any:
    return origins(settings=[setting], etc=NOWHERE)[setting.partition("=")[0]][0]


def problems(*settings: str, file: Path | None = None, etc: Path = NOWHERE) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, settings, etc)
    return caught.value.problems


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "conf.d").mkdir()
    return tmp_path


# --- values


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ('mqtt.host="fe80::1%eth0"', "fe80::1%eth0"),
        ('mqtt.host="broker.local"', "broker.local"),
        ('source.kind="csi"', "csi"),
        ('source.capture="on-demand"', "on-demand"),
        ("source.idle_seconds=0", 0.0),
        ("source.start_timeout_seconds=600", 600.0),
        ("video.width=16", 16),
        ("video.width=8192", 8192),
        ("video.height=1_080", 1080),
        ("video.framerate=30", 30.0),
        ("video.framerate=0.01", 0.01),
        ("video.framerate=240", 240.0),
        ("video.rotation=180", 180),
        ("video.hflip=true", True),
        ("video.masks=[]", []),
        ("video.masks=[[0, 0.5, 1, 0.5], [0.1, 0.2, 0.3, 0.4]]", [[0, 0.5, 1, 0.5], [0.1, 0.2, 0.3, 0.4]]),
        pytest.param(f"video.masks={[[0.5, 0, 0.5, 1]] * 16}", [[0.5, 0, 0.5, 1]] * 16, id="16 masks"),
        ("video.quality=1", 1),
        ("video.quality=100", 100),
        ("csi.camera=1", "1"),
        ("csi.camera=0", "0"),
        ("csi.camera=99", "99"),
        ('csi.camera="1"', "1"),
        ('csi.camera="/base/soc/i2c0mux/i2c@1/imx708@1a"', "/base/soc/i2c0mux/i2c@1/imx708@1a"),
        ('csi.tuning_file="imx219_noir.json"', "imx219_noir.json"),
        ("csi.buffer_count=2", 2),
        ('http.listen_address=""', ""),
        ('http.listen_address="127.0.0.1"', "127.0.0.1"),
        ('http.listen_address="::"', "::"),
        ('http.listen_address="fe80::1%eth0"', "fe80::1%eth0"),
        ("http.port=0", 0),
        ("http.port=65535", 65535),
        ("http.allowed_networks=[]", Networks()),
        ('http.allowed_networks=["local", "203.0.113.7/24", "::1"]', Networks(["local", "203.0.113.7/24", "::1"])),
        (
            'wall.cameras=["http://picam-2.local:8000", "https://cam.example.org/"]',
            ("http://picam-2.local:8000", "https://cam.example.org"),
        ),
        ('page.name=" 마당 2 "', "마당 2"),
        pytest.param(f'page.name="{"x" * 60}"', "x" * 60, id="a name of 60"),
        pytest.param(f'video.overlay="{"x" * 100}"', "x" * 100, id="an overlay of 100"),
        ("motion.zones=[]", []),
        ("motion.zones=[[0, 0.5, 1, 0.5], [0.1, 0.1, 0.2, 0.2]]", [[0, 0.5, 1, 0.5], [0.1, 0.1, 0.2, 0.2]]),
        ("motion.rate=1", 1.0),
        ("motion.min_seconds=0", 0.0),
        ('page.language="ko"', "ko"),
        ("recordings.clips=true", True),
        ("recordings.before_seconds=0", 0.0),
        ("recordings.quota_mb=1", 1),
        ("timelapse.every_seconds=86400", 86400),
        ('timelapse.start="23:59"', "23:59"),
        ('timelapse.end=""', ""),
        ('log.level="debug"', "debug"),
    ],
)
def test_a_valid_value_is_accepted(setting: str, expected: object) -> None:
    found = value(setting)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("setting", "accepted"),
    [
        ('source.kind="webcam"', '"auto" or "csi" or "usb" or "upstream" or "pattern"'),
        ('source.kind="CSI"', '"auto" or "csi" or "usb" or "upstream" or "pattern"'),
        ("source.kind=1", '"auto" or "csi" or "usb" or "upstream" or "pattern"'),
        ('mqtt.host="mqtt://broker"', 'the name or address of an MQTT broker, such as "192.168.1.5", without a port'),
        ('mqtt.host="broker:1883"', "without a port"),
        ('mqtt.client_id="two words"', "up to 60 letters, digits, - and _"),
        ('mqtt.topic="home/#"', "up to 200 characters without + and #"),
        ('mqtt.topic="/home"', "up to 200 characters"),
        ("mqtt.port=0", "an integer from 1 to 65535"),
        ("source.capture=true", '"always" or "on-demand"'),
        ("source.idle_seconds=-1", "a number from 0 to 86400"),
        ("source.idle_seconds=true", "a number from 0 to 86400"),
        ('source.idle_seconds="30"', "a number from 0 to 86400"),
        ("source.idle_seconds=inf", "a number from 0 to 86400"),
        ("source.start_timeout_seconds=0", "a number from 1 to 600"),
        ("source.stall_timeout_seconds=nan", "a number from 1 to 600"),
        ("video.width=641", "an even integer from 16 to 8192"),
        ("video.width=14", "an even integer from 16 to 8192"),
        ("video.width=8194", "an even integer from 16 to 8192"),
        ("video.width=640.0", "an even integer from 16 to 8192"),
        ("video.height=-480", "an even integer from 16 to 8192"),
        ("video.framerate=0", "a number from 0.01 to 240"),
        ("video.framerate=240.1", "a number from 0.01 to 240"),
        ("video.framerate=07:32:00", "a number from 0.01 to 240"),
        ("video.rotation=45", "0 or 90 or 180 or 270"),
        ("video.rotation=false", "0 or 90 or 180 or 270"),
        ("video.rotation=180.0", "0 or 90 or 180 or 270"),
        ("video.hflip=1", "true or false"),
        ('video.vflip="true"', "true or false"),
        (
            'video.masks="none"',
            "a list of [x, y, width, height] in fractions of the whole, such as [0.25, 0.25, 0.5, 0.5]",
        ),
        ("video.masks=[0, 0, 0.5, 0.5]", "[x, y, width, height] in fractions"),
        ("video.masks=[[0, 0, 0.5, 0.5], [0, 0, 0.5]]", "[x, y, width, height] in fractions"),
        ("video.masks=[[0.5, 0, 0.6, 1]]", "[x, y, width, height] in fractions"),
        ("video.masks=[[0, nan, 0.5, 0.5]]", "[x, y, width, height] in fractions"),
        pytest.param(f"video.masks={[[0, 0, 1, 1]] * 17}", "at most 16", id="17"),
        ("video.quality=0", "an integer from 1 to 100"),
        ("video.quality=101", "an integer from 1 to 100"),
        ("csi.camera=-1", "text in quotes"),
        ("csi.camera=100", "text in quotes"),
        ("csi.camera=true", "text in quotes"),
        (r'csi.camera="\u0000"', "text in quotes, without control characters"),
        (r'csi.tuning_file="a\nb"', "text in quotes, without control characters"),
        ("csi.tuning_file=[]", "text in quotes"),
        ("csi.buffer_count=1", "an integer from 2 to 8"),
        ("csi.buffer_count=9", "an integer from 2 to 8"),
        ("csi.buffer_count=true", "an integer from 2 to 8"),
        ('http.listen_address="garden.local"', "an IPv4 or IPv6 address"),
        ('http.listen_address="192.168.1.5:8000"', "an IPv4 or IPv6 address"),
        (r'http.listen_address="fe80::1%\n"', "an IPv4 or IPv6 address"),
        ("http.listen_address=0", "an IPv4 or IPv6 address"),
        ("http.port=65536", "an integer from 0 to 65535"),
        ("http.port=-1", "an integer from 0 to 65535"),
        pytest.param(f"http.port=0x{'f' * 9000}", "an integer from 0 to 65535", id="huge"),
        ("http.port={a=1}", "an integer from 0 to 65535"),
        pytest.param(f"http.port{'.a' * 9000}=1", "an integer from 0 to 65535", id="deep"),
        ('wall.cameras="http://picam-2.local:8000"', "a list of addresses of cameras"),
        ('wall.cameras=["*"]', "addresses of cameras"),
        ('wall.cameras=["picam-2.local"]', "addresses of cameras"),
        ('wall.cameras=["http://picam-2.local/stream"]', "addresses of cameras"),
        ("wall.cameras=[\"http://x; script-src 'unsafe-inline'\"]", "addresses of cameras"),
        ('http.allowed_networks="local"', "a list of IP addresses"),
        ("http.allowed_networks=[1]", 'IP addresses ("192.168.1.5")'),
        ('http.allowed_networks=[["local"]]', 'IP addresses ("192.168.1.5")'),
        (r'http.allowed_networks=["\n"]', 'IP addresses ("192.168.1.5")'),
        ('http.allowed_networks=["192.168.1.0/33"]', 'IP addresses ("192.168.1.5")'),
        ('http.allowed_networks=["LAN"]', 'and "local"'),
        ('http.trusted_proxies=["local"]', 'networks ("192.168.1.0/24", "2001:db8::/48")'),
        ("http.max_viewers=0", "an integer from 1 to 1000"),
        ("http.max_event_streams=0", "an integer from 1 to 1000"),
        ('events.webhook_url="ftp://example.org/hook"', 'an address such as "https://example.org/hook"'),
        ('events.webhook_url="http://user:password@example.org/"', "without user and password"),
        ("events.webhook_url=9000", 'an address such as "https://example.org/hook"'),
        ('events.webhook_secret_file="secret"', "an absolute path, which begins with /"),
        ('push.url="ftp://nas.local/camera"', '"sftp://user@host/path", "https://host/path" or "rclone:REMOTE:path"'),
        ('push.url="sftp://camera:s3cret@nas.local/camera"', "without a password"),
        ('push.url="https://nas.local/camera?token=s3cret"', "without a password"),
        ('push.url="rclone::sftp,pass=s3cret:camera"', "without a password"),
        ('push.url="rclone:nas"', "without a password"),
        ("push.url=22", "without a password"),
        ('push.credentials_file="login"', "an absolute path, which begins with /"),
        ("push.delete_after=1", "true or false"),
        ("http.max_connections=1001", "an integer from 1 to 1000"),
        ("http.request_timeout_seconds=0.5", "a number from 1 to 600"),
        ("http.viewer_timeout_seconds=3601", "a number from 1 to 3600"),
        ("page.name=5", "text in quotes, up to 60 visible characters"),
        (r'page.name="a\nb"', "text in quotes, up to 60 visible characters"),
        pytest.param(f'page.name="{"x" * 61}"', "text in quotes, up to 60 visible characters", id="long name"),
        pytest.param(f'video.overlay="{"x" * 101}"', "up to 100 ASCII characters", id="long overlay"),
        ("video.overlay=1", "up to 100 ASCII characters"),
        ('video.overlay="{size}"', "up to 100 ASCII characters"),
        ("motion.enabled=1", "true or false"),
        ("motion.rate=0.9", "a number from 1 to 15"),
        ("motion.rate=15.1", "a number from 1 to 15"),
        ("motion.threshold=0.01", "a number from 0.02 to 0.9"),
        ("motion.min_area=0", "a number from 0.0005 to 1"),
        ("motion.min_seconds=-1", "a number from 0 to 60"),
        ("motion.quiet_seconds=0.5", "a number from 1 to 600"),
        ("motion.zones=5", "a list of [x, y, width, height]"),
        ("motion.zones=[0, 0, 1, 1]", "[x, y, width, height] in fractions"),
        ("motion.zones=[[0, 0, 1, 1.1]]", "[x, y, width, height] in fractions"),
        pytest.param(f"motion.zones={[[0, 0, 1, 1]] * 17}", "at most 16", id="17 zones"),
        ('page.language="de"', '"auto" or "en" or "ko"'),
        ('recordings.clips="yes"', "true or false"),
        ("recordings.folder=5", "text in quotes"),
        ("recordings.before_seconds=61", "a number from 0 to 60"),
        ("recordings.after_seconds=0", "a number from 1 to 600"),
        ("recordings.longest_seconds=9", "a number from 10 to 3600"),
        ("recordings.quota_mb=0", "an integer from 1 to 100000000"),
        ("recordings.keep_free_percent=91", "a number from 0 to 90"),
        ("timelapse.every_seconds=-1", "0 or an integer from 1 to 86400"),
        ('timelapse.picture="photo"', '"snapshot" or "still"'),
        ('timelapse.start="24:00"', 'a time of day from "00:00" to "23:59"'),
        ('timelapse.end="6:00"', 'a time of day from "00:00" to "23:59"'),
        ("timelapse.days_kept=0", "an integer from 1 to 10000"),
        ('log.level="trace"', '"debug" or "info" or "warning" or "error"'),
    ],
)
def test_an_invalid_value_is_refused(setting: str, accepted: str) -> None:
    [problem] = problems(setting)
    key = ".".join(setting.partition("=")[0].split(".")[:2])
    assert problem.startswith(f"--set: {key}: ")
    assert accepted in problem.partition("; accepted: ")[2]
    assert problem.isprintable()
    assert len(problem) < 300


def test_a_wrong_address_of_recordings_is_not_shown() -> None:
    [problem] = problems('push.url="sftp://camera:s3cret@nas.local/camera"')
    assert "this is not an address of a folder" in problem and "s3cret" not in problem


@pytest.mark.parametrize(
    "url", ["", "sftp://camera@nas.local:2222/~/films", "http://[fd00::1]:8080/dav/", "rclone:my-nas:films/yard"]
)
def test_an_address_of_recordings_is_kept(url: str) -> None:
    assert load(None, [f'push.url="{url}"'], NOWHERE).push.url == url


def test_a_wrong_rectangle_of_a_list_is_named() -> None:
    [problem] = problems("video.masks=[[0, 0, 0.5, 0.5], [0, 0, 0.5]]")
    assert problem.startswith(
        "--set: video.masks: entry 2: [0, 0, 0.5] cannot be used; accepted: [x, y, width, height]"
    )
    [problem] = problems(f"video.masks={[[0, 0, 1, 1]] * 17}")
    assert problem == "--set: video.masks: 17 rectangles cannot be used; accepted: at most 16"


def test_a_wrong_value_is_shown_as_it_was_written() -> None:
    [problem] = problems('http.port="8000"')
    assert problem.startswith('--set: http.port: "8000" cannot be used; accepted: an integer from 0 to 65535; ')


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ('video.width="1280"', "; write 1280 without quotes"),
        ('video.framerate=" 12.5"', "; write 12.5 without quotes"),
        ('video.rotation="90"', "; write 90 without quotes"),
        ('video.hflip="True"', "; write true without quotes"),
        ('controls.brightness="0.5"', "; write 0.5 without quotes"),
        ('controls.roi="[0, 0, 1, 1]"', "; write [0, 0, 1, 1] without quotes"),
        ('http.allowed_networks="local"', '; write ["local"]'),
        ("http.allowed_networks='[\"local\"]'", '; write ["local"] without quotes'),
        ('wall.cameras="http://picam-2.local:8000"', '; write ["http://picam-2.local:8000"]'),
        ('video.width="641"', "from 16 to 8192"),
        ('source.kind="true"', '"upstream" or "pattern"'),
    ],
)
def test_a_value_with_wrong_quotes_is_reported_with_the_right_ones(setting: str, hint: str) -> None:
    [problem] = problems(setting)
    assert problem.endswith(hint)


def test_every_default_has_the_type_of_its_annotation() -> None:
    defaults = load(etc=NOWHERE)
    for section, kind in get_type_hints(Config).items():
        for key, hint in get_type_hints(kind).items():
            found = getattr(getattr(defaults, section), key)
            # tuple[str, ...] is a tuple, and float | None one of the two
            kinds = get_args(hint) if isinstance(hint, UnionType) else [hint]
            assert type(found) in [getattr(kind, "__origin__", kind) for kind in kinds], f"{section}.{key}"


def test_the_hash_depends_on_the_settings_but_on_no_password() -> None:
    def sha256(*settings: str) -> str:
        return load(settings=settings, etc=NOWHERE).sha256

    def upstream(password: str) -> str:
        return sha256(f'upstream.url="http://user:{password}@camera.local/"')

    assert sha256() == sha256("video.rotation=0") != sha256("video.rotation=90")
    assert upstream("one") == upstream("two") != sha256('upstream.url="http://camera.local/"')
    hooks = [sha256(f'events.webhook_url="http://a.example/{key}"') for key in ("?key=1", "?key=2", "hook")]
    assert hooks[0] == hooks[1] != hooks[2]


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        load(etc=NOWHERE).video.width = 1  # type: ignore[misc]


# --- layers


def test_without_any_file_the_defaults_are_in_force() -> None:
    found = origins(etc=NOWHERE)
    assert {layer for _, layer in found.values()} == {"default"}
    assert load(etc=NOWHERE).video.width == tomllib.loads(loading.DEFAULTS.read_text("utf-8"))["video"]["width"]


def test_later_layers_win_key_by_key(etc: Path) -> None:
    (etc / "config.toml").write_text("[video]\nwidth = 1000\nheight = 1000\nquality = 10\nframerate = 10")
    (etc / "conf.d" / "20-b.toml").write_text("[video]\nquality = 30\n[http]\nport = 3")
    (etc / "conf.d" / "10-a.toml").write_text("[video]\nquality = 20\nheight = 2000")
    found = origins(settings=["http.port=4", "http.port=5"], etc=etc)
    assert {name: origin for name, origin in found.items() if origin[1] != "default"} == {
        "video.width": (1000, f"{etc}/config.toml"),
        "video.height": (2000, f"{etc}/conf.d/10-a.toml"),
        "video.framerate": (10.0, f"{etc}/config.toml"),
        "video.quality": (30, f"{etc}/conf.d/20-b.toml"),
        "http.port": (5, "--set"),
    }
    loaded = load(settings=["http.port=4", "http.port=5"], etc=etc)
    assert (loaded.video.height, loaded.video.quality, loaded.http.port) == (2000, 30, 5)


def test_a_key_that_only_a_newer_release_knows_is_ignored_and_a_typo_is_not(
    etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "NEWER_KEYS", tmp_path / "newer-keys")
    (etc / "config.toml").write_text("video.width = 320\nvideo.zoom = 2\n[siren]\nloud = true\n")
    (etc / "conf.d/more.toml").write_text("video.zoom = 3\n")
    assert [problem.split(";")[0].removeprefix(f"{etc}/") for problem in problems(etc=etc)] == [
        "config.toml: video.zoom: unknown key",
        "config.toml: siren: unknown section",
        "conf.d/more.toml: video.zoom: unknown key",
    ]
    (tmp_path / "newer-keys").write_text("siren.loud\nvideo.width\nvideo.zoom\n")
    config = load(etc=etc)
    assert config.video.width == 320, "a key that this release knows is not ignored"
    told = "ignored; a newer release has this key, and this one does not know it"
    assert [record.getMessage() for record in caplog.records] == [
        f"{etc}/config.toml: video.zoom: {told}",
        f"{etc}/config.toml: siren.loud: {told}",
        f"{etc}/conf.d/more.toml: video.zoom: {told}",
    ]
    assert loading.problems({"video": {"zoom": 2}}) == []
    (etc / "conf.d/more.toml").write_text("video.zom = 3\n[siren]\nlout = true\nloud = true\n")
    assert [problem.partition(": ")[2].split(";")[0] for problem in problems(etc=etc)] == [
        "video.zom: unknown key",
        "siren: unknown section",
    ]


def test_a_named_file_replaces_all_files_in_etc(etc: Path) -> None:
    (etc / "config.toml").write_text("[video]\nwidth = 1000")
    (etc / "conf.d" / "a.toml").write_text("[video]\nquality = 1")
    named = etc / "garden.toml"
    named.write_text("[video]\nheight = 1000")
    loaded = load(named, ["http.port=5"], etc)
    assert (loaded.video.width, loaded.video.quality) == (640, 80)
    assert (loaded.video.height, loaded.http.port) == (1000, 5)


def test_only_visible_toml_files_of_conf_d_are_read(etc: Path) -> None:
    for name in (".half-written.toml", "a.toml~", "a.toml.dpkg-old", "README"):
        (etc / "conf.d" / name).write_text("not TOML")
    assert load(etc=etc) == load(etc=NOWHERE)


def test_one_setting_may_be_a_whole_table() -> None:
    assert load(settings=["video={width=320, height=240}"], etc=NOWHERE).video.width == 320


# --- several problems


def test_all_problems_of_all_layers_are_reported_at_once(etc: Path) -> None:
    (etc / "config.toml").write_text('[http]\nport = "8000"\nprot = 1\n[video]\nwidth = 641')
    (etc / "conf.d" / "a.toml").write_text("[video]\nrotation = 45")
    (etc / "conf.d" / "b.toml").write_text("[video")
    told = problems("video.width=640", "video.hflip=1", "nonsense", etc=etc)
    assert [problem.split(";")[0] for problem in told] == [
        f'{etc}/config.toml: http.port: "8000" cannot be used',
        f"{etc}/config.toml: http.prot: unknown key",
        f"{etc}/config.toml: video.width: 641 cannot be used",
        f"{etc}/conf.d/a.toml: video.rotation: 45 cannot be used",
        f"{etc}/conf.d/b.toml: not TOML: Expected ']' at the end of a table declaration (at end of document)",
        "--set: video.hflip: 1 cannot be used",
        "--set: nonsense: no value",
    ]


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ("vidoe.width=640", "unknown section; did you mean video?"),
        ("video.widht=640", "unknown key; did you mean width?"),
        ("source.stall_timeout=5", "unknown key; did you mean stall_timeout_seconds?"),
        ("http.width=640", "unknown key; did you mean video.width?"),
        ("http.widht=640", "unknown key; did you mean video.width?"),
        ("http.Port=640", "unknown key; did you mean port?"),
        ("http.password=1", "unknown key; did you mean http.users_file?"),
        ("video.resolution=1", "unknown key; did you mean video.width and video.height?"),
        ("video.privacy_mask=1", "unknown key; did you mean video.masks?"),
        ("video.fps=1", "unknown key; did you mean video.framerate?"),
        ("port=8000", "port: a key without a section; did you mean http.port?"),
        ("widht=640", "widht: a key without a section; did you mean video.width?"),
        ("fps=5", "fps: a key without a section; did you mean video.framerate?"),
        ("zzz=5", "zzz: a key without a section; accepted: section.key, such as video.width"),
        ("camera={width = 640, height = 480}", "camera: unknown section; did you mean video?"),
        ("camera={width = 640, port = 80}", "camera: unknown section; did you mean video and http?"),
        ("camera={}", "camera: unknown section; did you mean video?"),
        ("stream={quality = 90}", "stream: unknown section; did you mean video?"),
        ("Server={}", "Server: unknown section; did you mean http?"),
        ("logging={}", "logging: unknown section; did you mean log?"),
        ("section.video.width=640", "section: unknown section; did you mean video?"),
        ("section={width = 640}", "section: unknown section; did you mean video?"),
        ("log.x=1", "unknown key; accepted: level"),
        (
            "zzz.x=1",
            "unknown section; accepted: source, video, small, csi, controls, usb, upstream, motion, http, mqtt, ",
        ),
        ("video=640", "640 cannot be used; accepted: a table, which begins with [video]"),
        ('"vi\\ndeo".width=1', "unknown section; did you mean video?"),
        pytest.param("video." + "w" * 5000 + "=1", "unknown key; accepted: width, ", id="long"),
    ],
)
def test_an_unknown_name_is_reported_with_a_suggestion(setting: str, advice: str) -> None:
    [problem] = problems(setting)
    assert advice in problem
    assert problem.isprintable()
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ("source.kind=pattern", """did you mean 'source.kind="pattern"'?"""),
        ("csi.camera=", """did you mean 'csi.camera=""'?"""),
        ("http.allowed_networks=10.0.0.0/8", """did you mean 'http.allowed_networks=["10.0.0.0/8"]'?"""),
        ("video.hflip=True", "did you mean video.hflip=true?"),
        ("source.kind=banana", "accepted: section.key=value, text in quotes"),
        ("video width=3", "accepted: section.key=value, text in quotes"),
        ("=", "accepted: section.key=value"),
        ("", "accepted: section.key=value"),
        ("video.width", "accepted: section.key=value"),
        pytest.param("x=" + "[" * 9000, "accepted: section.key=value", id="deep"),
        pytest.param("http.port=" + "1" * 9000, "accepted: section.key=value", id="huge"),
        ("http.port=\n\n=", "accepted: section.key=value"),
    ],
)
def test_a_setting_that_is_not_toml_is_reported_with_the_right_quoting(setting: str, advice: str) -> None:
    [problem] = problems(setting)
    assert advice in problem
    assert problem.isprintable()
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("key", "valid"),
    [
        ("http.allowed_networks", "local"),
        ("http.trusted_proxies", "::1"),
        ("http.allowed_hosts", "*"),
        ("http.cors_origins", "*"),
        ("http.frame_ancestors", "http://octopi.local"),
        ("wall.cameras", "http://picam-2.local:8000"),
    ],
)
def test_all_wrong_entries_of_a_list_are_reported_at_once(key: str, valid: str) -> None:
    [problem] = problems(f'{key}=["one:/", "{valid}", 2, "three four"]')
    assert problem.startswith(f'--set: {key}: "one:/", 2, "three four" cannot be used; accepted: ')
    [problem] = problems(f"{key}={list(range(100))}")
    assert "8, 9 and 90 more cannot be used" in problem
    [problem] = problems(f"{key}={list(range(11))}")
    assert "8, 9 and 1 more cannot be used" in problem
    [problem] = problems(f"{key}={list(range(10))}")
    assert "8, 9 cannot be used" in problem


def test_all_wrong_entries_of_a_table_are_reported_at_once() -> None:
    [problem] = problems('usb.controls={good = 1, "Bad One" = 2, half = 0.5}')
    assert problem.startswith("--set: usb.controls: Bad One: 2, half: 0.5 cannot be used; accepted: ")


def test_controls_by_name_have_names_of_40_signs_and_may_be_left_to_the_camera() -> None:
    name = "power_line_frequency_50".ljust(40, "x")
    set_ = {"a": 1, "b": True, "c": "50 Hz", name: "default"}
    expected = {**set_, name: None}
    assert converters.by_name(set_) == expected


# --- files


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[video]\nwidth 640\n", "(at line 2, column 7)"),
        (b"[source]\nkind = csi\n", "(at line 2, column 8); text needs quotes"),
        (b"[video]\nwidth = 1\nwidth = 2\n", "not TOML: line 3: width is set twice; remove one of the lines"),
        (
            b"[video]\nwidth = 640\n[http]\nport = 1\n[video]\nheight = 480\n",
            "not TOML: line 5: the table [video] is there twice, first in line 1; write all its keys below one",
        ),
        (b"http.port = 1\n[http]\n", "line 2: the table [http] is there twice, first in line 1"),
        (b'["video"]\n[video]\n', "line 2: the table [video] is there twice; write all its keys below one"),
        (b'["\\n"]\n["\\n"]\n', r"line 2: the table ['\n'] is there twice"),
        (b"[video]\nhflip = True\n", "(at line 2, column 9); write true"),
        (b"[video]\nvflip = FALSE # not yet\n", "(at line 2, column 9); write false"),
        ("[source]\nkind = “usb\n".encode(), """(at line 2, column 12); “ is a typographic quote, write " or '"""),
        ("[source]\nkind = «usb»\n".encode(), """(at line 2, column 8); « is a typographic quote, write " or '"""),
        ("[source]\nkind = “usb”\n[video]\nwidth = wide\n".encode(), "(at line 4, column 9); text needs quotes"),
        (b"[video]\nwidth = 640\0\n", "(at line 2"),
        (b"[video]\n# gr\xfc\xdfe\n", "line 2: byte 0xfc is not UTF-8; save the file as UTF-8"),
        ("[video]\n\ud800".encode("utf-16", "surrogatepass"), "line 2: byte 0x00 is not UTF-16-LE"),
        pytest.param(b"x = " + b"[" * 9000, "nested too deeply", id="deep"),
        pytest.param(b"x = " + b"1" * 9000, "a number is too long", id="huge"),
        pytest.param(b"#" * 300_000, "larger than 256 KiB", id="large"),
        (b"[[video]]\nwidth = 640\n", "video: a list cannot be used; accepted: a table, which begins with [video]"),
    ],
)
def test_an_unreadable_file_is_reported_on_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    [problem] = problems(file=file)
    assert problem.startswith(f"{file}: ")
    assert told in problem
    assert problem.isprintable()


@pytest.mark.parametrize("content", ["", "\n", "\ufeff[video]\nwidth = 640\n", "[video]\r\nwidth = 640\r\n", "# ü\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_from_any_editor_is_read(tmp_path: Path, content: str, encoding: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    assert load(file) == load(etc=NOWHERE)


@pytest.mark.parametrize("quotes", ["“”", "„“", "‘’", "＂＂"])
def test_the_quotes_of_word_processors_are_quotes(tmp_path: Path, quotes: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[source]\nkind ＝ {quotes[0]}usb{quotes[1]}\n[csi]\ncamera = '“1”'\n")
    assert (load(file).source.kind, load(file).csi.camera) == ("usb", "“1”")
    assert load(settings=[f"source.kind={quotes[0]}usb{quotes[1]}"], etc=NOWHERE).source.kind == "usb"


def test_a_named_file_that_is_missing_or_no_file_is_reported(tmp_path: Path) -> None:
    assert problems(file=tmp_path / "none.toml") == [f"{tmp_path}/none.toml: No such file or directory"]
    assert problems(file=tmp_path) == [f"{tmp_path}: Is a directory"]
    assert problems(file=Path("/dev/zero")) == ["/dev/zero: larger than 256 KiB; this is not a configuration"]
    assert problems(file=Path("a\0b")) == ["a\0b: embedded null byte"]


def test_a_link_to_nowhere_in_etc_is_not_a_missing_file(etc: Path) -> None:
    (etc / "config.toml").symlink_to(etc / "gone")
    (etc / "conf.d" / "a.toml").symlink_to(etc / "gone")
    assert problems(etc=etc) == [
        f"{etc}/config.toml: No such file or directory",
        f"{etc}/conf.d/a.toml: No such file or directory",
    ]


def test_a_file_in_the_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "conf.d").touch()
    assert problems(etc=tmp_path) == [f"{tmp_path}/conf.d: Not a directory"]
    assert problems(etc=tmp_path / "conf.d") == [f"{tmp_path}/conf.d: Not a directory"]


def test_a_file_without_read_permission_is_reported(public: Path, somebody: Callable[[str], None]) -> None:
    (public / "config.toml").touch(0o000)
    somebody("alice")
    [problem] = problems(etc=public)
    assert problem.startswith(f"{public}/config.toml: Permission denied for alice: it belongs to ")
    assert problem.endswith(", mode 0000; run it with sudo")


def test_a_folder_without_read_permission_is_reported(public: Path, somebody: Callable[[str], None]) -> None:
    (public / "conf.d").mkdir(0o000)
    somebody("alice")
    [problem] = problems(etc=public)
    assert problem.startswith(f"{public}/conf.d: Permission denied for alice: it belongs to ")
    assert problem.endswith(", mode 0000; run it with sudo")


# --- anything at all

KEYS = [*origins(etc=NOWHERE), "video", "http", "x", "video.x", "video.width.x", '"\\n".a']
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cc", "Cs"])),
)


def never_fails_otherwise(content: bytes, assignments: list[str]) -> None:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(content)
        file.flush()
        try:
            loaded = load(Path(file.name), assignments)
        except ConfigError as error:
            assert error.problems
            assert all(problem.isprintable() for problem in error.problems)
        else:
            assert CameraConfig.from_json(loaded.camera.to_json()) == loaded.camera


@settings(deadline=None)
@given(st.text())
@example("[video]\nwidth = 1" + "0" * 5000)
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    never_fails_otherwise(text.encode("utf-8", "surrogatepass"), [])


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_a_configuration_or_a_config_error(content: bytes) -> None:
    never_fails_otherwise(content, [])


@settings(deadline=None)
@given(st.text(st.characters()), st.sampled_from(KEYS))
def test_any_setting_is_accepted_or_a_config_error(text: str, key: str) -> None:
    never_fails_otherwise(b"", [text, f"{key}={text}", f"{text}=1"])


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), SCALARS | st.lists(SCALARS)))
def test_any_values_are_accepted_or_a_config_error(values: dict[str, Any]) -> None:
    never_fails_otherwise("".join(f"{key} = {toml(value)}\n" for key, value in values.items()).encode(), [])


# what addresses, names and origins are made of
PIECES = [
    "192.168.1.5",
    "::1",
    "::ffff:10.0.0.0",
    "/24",
    "/120",
    "/",
    "local",
    "*",
    ".",
    "a-b",
    "http://",
    "[",
    "]",
    ":80",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
VALUES = st.one_of(
    (SCALARS | TEXTS).map(toml),
    st.lists(SCALARS | TEXTS, max_size=4).map(toml),
    st.lists(TEXTS, max_size=4).map(toml),
    st.sampled_from(["{}", "{a = 1}", "[[]]", "[{}]", "1979-05-27", "07:32:00", "inf", "-inf", "nan", "0x10", "1e400"]),
)


@settings(deadline=None, max_examples=500)
@given(st.sampled_from([*origins(etc=NOWHERE)]), VALUES)
def test_any_value_is_refused_by_its_key_or_has_its_type(key: str, text: str) -> None:
    section, _, name = key.partition(".")
    try:
        loaded = load(settings=[f"{key}={text}"], etc=NOWHERE)
    except ConfigError as error:
        assert all(problem.startswith(f"--set: {key}: ") for problem in error.problems)
        return
    kept = getattr(getattr(loaded, section), name)
    kind = get_type_hints(type(getattr(loaded, section)))[name]
    kinds = get_args(kind) if isinstance(kind, UnionType) else [kind]
    assert type(kept) in [get_origin(kind) or kind for kind in kinds]
    if isinstance(kept, tuple):
        assert all(type(entry) is str for entry in kept)
    http = loaded.http
    asked = parse(b"GET / HTTP/1.1\r\nHost: camera.local\r\nOrigin: http://camera.local")
    with contextlib.suppress(Refused):
        Access(AllowedNetworks(http.allowed_networks), http.trusted_proxies).judge("192.168.1.5", "192.168.1.1", asked)
    with contextlib.suppress(Refused):
        HostPolicy(http.allowed_hosts, http.cors_origins, own_networks().contains).check(asked, "192.168.1.5")


@settings(deadline=None)
@given(SCALARS | st.lists(SCALARS))
def test_toml_writes_what_toml_reads(value: Any) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


# --- for the camera process


def test_the_camera_gets_its_part_unchanged() -> None:
    chosen = ['source.kind="pattern"', "video.framerate=12.5", "csi.camera=1", 'csi.tuning_file="ü.json"']
    camera = load(settings=chosen, etc=NOWHERE).camera
    assert (camera.kind, camera.video.framerate, camera.csi.camera) == ("pattern", 12.5, "1")
    assert CameraConfig.from_json(camera.to_json()) == camera


def test_only_camera_settings_change_the_cameras_part() -> None:
    one = load(etc=NOWHERE)
    other = load(settings=["http.port=9", 'log.level="debug"', "source.idle_seconds=1"], etc=NOWHERE)
    assert other.camera == one.camera
    assert load(settings=["video.quality=81"], etc=NOWHERE).camera != one.camera


# -- controls


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ('controls.awb="cloudy"', "cloudy"),
        ('controls.awb="default"', None),
        ("controls.brightness=-1", -1.0),
        ("controls.shutter=0", 0),
        ("controls.gain=0.0", 0),
        ("controls.gain=256", 256),
        ("controls.roi=[0, 0.5, 1, 0.5]", [0, 0.5, 1, 0.5]),
        ("controls.roi=[0.5, 0, 0.5, 1]", [0.5, 0, 0.5, 1]),
        ("controls.roi=[0.7, 0.9, 0.3000000001, 0.1000000001]", [0.7, 0.9, 0.3000000001, 0.1000000001]),
        ('controls.hdr="single-exp"', "single-exp"),
    ],
)
def test_a_control_has_a_value_or_is_left_to_the_camera(setting: str, kept: object) -> None:
    assert value(setting) == kept


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("controls.brightness=2", '2 cannot be used; accepted: a number from -1 to 1 or "default"'),
        ("controls.shutter=-1", 'accepted: 0 or an integer from 1 to 100000000 or "default"'),
        ('controls.awb="pink"', '"cloudy" or "default"'),
        ("controls.roi=[0, 0, 2, 1]", "[x, y, width, height] in fractions of the whole"),
        *(
            (f"controls.roi={sides}".lower(), "[x, y, width, height] in fractions of the whole")
            for sides in (
                [0, 0, 1],
                [0, 0, 1, 1, 1],
                "3",
                [0, 0, 1, True],
                [-0.1, 0, 0.5, 0.5],
                [0, -0.1, 0.5, 0.5],
                [1, 0, 1e-10, 0.5],
                [0, 1, 0.5, 1e-10],
                [0, 0, 0, 1],
                [0, 0, 1, 0],
                [0, 0, 1, 1.1],
                [-1, -1, 2, 2],
                [0.5, 0, 0.500001, 1],
                [0, 0.5, 1, 0.500001],
                [-0.1, 0, 1.05, 1],
                [0, -0.1, 1, 1.05],
            )
        ),
        (f"usb.controls.{'x' * 41}=1", "for a name of a-z, 0-9 and _"),
        ("controls.gain=0.5", 'accepted: 0 or a number from 1 to 256 or "default"'),
        ("controls.roi=[0, nan, 0.5, 0.5]", "[x, y, width, height] in fractions of the whole"),
        ("controls.roi=[0, 0, inf, 1]", "[x, y, width, height] in fractions of the whole"),
        ("controls.brightness=nan", "accepted: a number from -1 to 1"),
        ("controls.brightnes=1", "did you mean brightness?"),
        ("usb.controls=3", "accepted: a table, such as { brightness = 10"),
        ("usb.controls.brightness=1.5", "brightness: 1.5 cannot be used; accepted: true or false, an integer or text"),
        ('usb.controls."Big Name"=1', "for a name of a-z, 0-9 and _"),
    ],
)
def test_an_invalid_control_is_reported_with_the_accepted_values(setting: str, told: str) -> None:
    [problem] = problems(setting)
    assert told in problem


def test_the_controls_of_a_usb_camera_are_merged_by_name() -> None:
    settings = ["usb.controls={brightness = 1, contrast = 2}", 'usb.controls.contrast="default"', "usb.controls={}"]
    loaded = load(settings=settings, etc=NOWHERE).camera.settings("usb")
    assert loaded == {"brightness": 1, "contrast": None}


def test_an_empty_table_of_controls_leaves_those_of_other_layers(etc: Path) -> None:
    (etc / "config.toml").write_text("[usb]\ncontrols = { a = 1 }\n")
    assert load(None, ["usb.controls={}"], etc).usb.controls == {"a": 1}
    assert load(None, ["usb.controls={b = 2}"], etc).usb.controls == {"a": 1, "b": 2}
    assert "usb.controls" not in origins(None, ["usb.controls={b = 2}"], etc)
    assert load(None, ["usb.controls={}"], NOWHERE).usb.controls == {}


def test_the_daemon_gets_each_layer_by_itself(tmp_path: Path) -> None:
    (tmp_path / "file.toml").write_text("[video]\nquality = 50\nwidth = 320\n")
    (tmp_path / "settings.toml").write_text("[video]\nquality = 60\nwidth = 322\n[page]\nname = 5\n")
    (tmp_path / "controls.toml").write_text("[controls]\nbrightness = 0.5\n")
    paths = [tmp_path / f"{name}.toml" for name in ("settings", "controls")]
    loaded = loading.load_all(tmp_path / "file.toml", ["video.quality=70"], *paths)
    assert loaded.files == {"video.quality": 50, "video.width": 320}
    assert loaded.saved == {"video.quality": 60, "video.width": 322}
    assert loaded.fixed == {"video.quality"}
    video = [one.video for one in (loaded.configured, loaded.config, loaded.camera)]
    assert [(one.width, one.quality) for one in video] == [(320, 70), (322, 70), (322, 70)]
    brightness = [one.controls.brightness for one in (loaded.configured, loaded.config, loaded.camera)]
    assert brightness == [None, None, 0.5]
    changed = loaded.with_values({"page.name": "yard"})
    assert (changed.config.page.name, changed.configured.page.name, loaded.config.page.name) == ("yard", "yard", "")


def test_a_wrong_saved_value_is_ignored_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "saved.toml").write_text("[video]\nquality = 0\n")
    assert load(None, [], NOWHERE, [tmp_path / "saved.toml"]).video.quality == load(etc=NOWHERE).video.quality
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path}/saved.toml: video.quality: 0 cannot be used") and message.endswith(
        "; ignored"
    )


def test_a_wrong_saved_mask_covers_the_whole_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved = tmp_path / "settings.toml"
    saved.write_text("video.masks = [[0, 0, 0.5]]\nvideo.rotation = 90\n")
    video = load(settings=[], etc=tmp_path / "none", saved=[saved]).video
    assert (video.masks, video.rotation) == ([[0, 0, 1, 1]], 90)
    assert "video.masks: entry 1" in caplog.text


def test_a_table_in_a_file_is_read_without_its_wrong_entries(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_text("[viewers]\na = 1\n[usb]\ncontrols = { a = 1 }\n")
    assert loading.accepted_in(file, "usb.controls") == {"a": 1}
    assert loading.accepted_in(tmp_path / "missing", "usb.controls") == {}


@pytest.mark.parametrize("length", [60, 61])
def test_a_key_of_60_letters_is_told_whole(length: int) -> None:
    [problem] = loading.problems({"video": {"x" * length: 1}})
    assert problem.startswith(f"video.{'x' * length}: unknown") is (length == 60)
