"""The configuration: what may be set is in these dataclasses, what it means and its defaults are in default.toml.

Layers, later wins, key by key: default.toml, /etc/pi-cam-daemon/config.toml, /etc/pi-cam-daemon/conf.d/*.toml by
name, `--set section.key=value`. Every value of every layer is checked, also one that a later layer replaces.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints
from urllib.parse import unquote, urlsplit

from pi_cam_daemon import access
from pi_cam_daemon.errors import ConfigError

DEFAULTS = Path(__file__).with_name("default.toml")
ETC = Path("/etc/pi-cam-daemon")

# some fifty times default.toml: what is larger is not a configuration (/dev/zero has no end)
_MOST_BYTES = 256 * 1024

# A converter is named after what it returns: the value that is kept for a key, from what TOML gave.
# It raises ValueError with what is wrong and what is accepted.
_Converter = Callable[[Any], Any]


def _boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    raise _refused(raw, "true or false")


def _integer(low: int, high: int, step: int = 1) -> _Converter:
    def integer(raw: Any) -> int:
        if type(raw) is int and raw in range(low, high + 1, step):  # a bool is an int, too
            return raw
        raise _refused(raw, f"an {'even ' if step == 2 else ''}integer from {low} to {high}")

    return integer


def _number(low: float, high: float) -> _Converter:
    def number(raw: Any) -> float:
        if type(raw) in (int, float) and low <= raw <= high:  # not-a-number is in no range
            return float(raw)
        raise _refused(raw, f"a number from {low} to {high}")

    return number


def _choice(*choices: str | int) -> _Converter:
    def choice(raw: Any) -> Any:
        if type(raw) is type(choices[0]) and raw in choices:  # false equals 0
            return raw
        raise _refused(raw, " or ".join(map(toml, choices)))

    return choice


def _text(raw: Any) -> str:
    # no NUL and no line break gets into a path or a log
    if isinstance(raw, str) and raw.isprintable():
        return raw
    raise _refused(raw, "text in quotes, without control characters")


def _camera(raw: Any) -> str:
    return str(raw) if type(raw) is int and raw in range(100) else _text(raw)


def _address(raw: Any) -> str:
    if isinstance(raw, str) and raw.isprintable():
        try:
            return raw and str(ipaddress.ip_address(raw))
        except ValueError:
            pass
    raise _refused(raw, 'an IPv4 or IPv6 address, or "" for all of this machine')


def _url(raw: Any) -> str:
    text = _text(raw)
    try:
        url = urlsplit(text)
        host = (url.hostname or "").encode("idna")
        sound = url.scheme in ("http", "https") and host and url.port != 0 and text.isascii() and " " not in text
        # an @ further back is most likely that of a password with a / or ? in it
        sound = sound and "@" not in url.path + url.query + url.fragment and len(text) <= 2000
        # a line break would end the header that they are sent in
        sound = sound and not re.search(r"[\0-\x1f\x7f]", unquote(f"{url.username}{url.password}"))
    except ValueError:  # a port that is no number, half an IPv6 address, a name that no host can have
        sound = False
    if text and not sound:
        accepted = 'an address such as "http://192.168.1.20:4747/video" or "http://user:password@camera.local/stream"'
        raise _refused(raw, f"{accepted}, where other than letters and digits in user and password are written as %XX")
    return text


def without_secrets(text: str) -> str:
    """*text*, which may be a URL, without user, password and parameters, for many cameras take passwords in these.

    Of what hardly is a URL it shows less: what makes it none is often the password.
    """
    scheme = re.match(r"\W*\w+://|", text)
    start = scheme.end() if scheme else 0
    place = re.split("[;?]", text[start:], maxsplit=1)[0]
    parameters = text[start + len(place) :]
    if "@" in parameters:
        return f"{text[:start]}***"
    user, at, place = place.rpartition("@")
    return f"{text[:start]}{user and '***'}{at}{place}{parameters and parameters[0] + '***'}"


def _networks(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(entry, str) and entry.isprintable() for entry in raw):
        raise _refused(raw, f"a list of {access.ACCEPTED}")
    for entry in raw:
        if entry != access.LOCAL:
            access.network(entry)
    return tuple(raw)


def _refused(raw: Any, accepted: str) -> ValueError:
    return ValueError(f"{_shown(raw)} cannot be used; accepted: {accepted}")


# where the annotation says no more than the type
_CONVERTERS: dict[Any, _Converter] = {bool: _boolean, str: _text}


@dataclass(frozen=True)
class SourceConfig:
    """Which camera, and when it runs."""

    kind: Annotated[str, _choice("auto", "csi", "usb", "upstream", "pattern")]
    capture: Annotated[str, _choice("always", "on-demand")]
    idle_seconds: Annotated[float, _number(0, 86400)]
    start_timeout_seconds: Annotated[float, _number(1, 600)]
    stall_timeout_seconds: Annotated[float, _number(1, 600)]


@dataclass(frozen=True)
class VideoConfig:
    """The picture, whatever camera it comes from."""

    # even, because JPEG halves the colours (4:2:0), whose blocks are 16 pixels; 8192 is beyond what anyone streams,
    # and a slip such as 64000 is told here instead of by a camera that finds no memory
    width: Annotated[int, _integer(16, 8192, step=2)]
    height: Annotated[int, _integer(16, 8192, step=2)]
    # a hundred seconds are a frame of an astronomer; without a floor, the length of a frame is no number
    framerate: Annotated[float, _number(0.01, 240)]
    rotation: Annotated[int, _choice(0, 90, 180, 270)]
    rotation_method: Annotated[str, _choice("pixels", "exif")]
    hflip: bool
    vflip: bool
    quality: Annotated[int, _integer(1, 100)]


@dataclass(frozen=True)
class CsiConfig:
    """What only a camera on the ribbon connector has."""

    camera: Annotated[str, _camera]
    tuning_file: str
    # picamera2's hardware encoder has 16 slots and waits for ever, locks held, when it is handed more frames
    buffer_count: Annotated[int, _integer(2, 8)]


@dataclass(frozen=True)
class UsbConfig:
    """What only a USB (V4L2) camera has."""

    device: str
    pixel_format: Annotated[str, _choice("auto", "MJPG", "YUYV")]


@dataclass(frozen=True)
class UpstreamConfig:
    """Another server's MJPEG stream."""

    url: Annotated[str, _url]
    read_timeout_seconds: Annotated[float, _number(1, 600)]


@dataclass(frozen=True)
class HttpConfig:
    """Where the server listens, whom it serves, and for how long it waits."""

    listen_address: Annotated[str, _address]
    port: Annotated[int, _integer(0, 65535)]
    allowed_networks: Annotated[tuple[str, ...], _networks]
    # a service may open 1024 files (the soft RLIMIT_NOFILE that systemd sets), and a connection is one
    max_viewers: Annotated[int, _integer(1, 1000)]
    max_connections: Annotated[int, _integer(1, 1000)]
    request_timeout_seconds: Annotated[float, _number(1, 600)]
    viewer_timeout_seconds: Annotated[float, _number(1, 3600)]


@dataclass(frozen=True)
class HealthConfig:
    """The last resort."""

    reboot_after_minutes: Annotated[float, _number(0, 10080)]


@dataclass(frozen=True)
class LogConfig:
    """How much is logged."""

    level: Annotated[str, _choice("debug", "info", "warning", "error")]


@dataclass(frozen=True)
class CameraConfig:
    """The part that the camera process gets, as JSON; a change of it restarts that process."""

    kind: str
    video: VideoConfig
    csi: CsiConfig
    usb: UsbConfig
    upstream: UpstreamConfig

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> CameraConfig:
        """What `to_json` made, which is not checked again."""
        parts = json.loads(data)
        return cls(
            parts["kind"],
            VideoConfig(**parts["video"]),
            CsiConfig(**parts["csi"]),
            UsbConfig(**parts["usb"]),
            UpstreamConfig(**parts["upstream"]),
        )


@dataclass(frozen=True)
class Config:
    """All of it; each part goes to whom it concerns."""

    source: SourceConfig
    video: VideoConfig
    csi: CsiConfig
    usb: UsbConfig
    upstream: UpstreamConfig
    http: HttpConfig
    health: HealthConfig
    log: LogConfig

    @property
    def camera(self) -> CameraConfig:
        return CameraConfig(self.source.kind, self.video, self.csi, self.usb, self.upstream)


class Origin(NamedTuple):
    """A value that is in force, and the layer that set it: a file's name, `default` or `--set`."""

    value: Any
    layer: str


def load(file: Path | None = None, settings: Sequence[str] = (), etc: Path = ETC) -> Config:
    """The configuration in force: default.toml, then *file* or else the files in *etc*, then *settings*.

    *settings* are of the form `section.key=value`, the value in TOML. Files in *etc* may be missing, *file* may not.
    Raises ConfigError with every problem in every layer.
    """
    values = origins(file, settings, etc)
    return Config(
        **{
            section: kind(**{key.name: values[f"{section}.{key.name}"].value for key in fields(kind)})
            for section, kind in get_type_hints(Config).items()
        }
    )


def origins(file: Path | None = None, settings: Sequence[str] = (), etc: Path = ETC) -> dict[str, Origin]:
    """Each `section.key` in force, its value and the layer that set it. Arguments and errors are those of `load`."""
    problems: list[str] = []
    paths = [DEFAULTS]
    try:
        paths += _files(etc) if file is None else [file]
    except OSError as error:
        problems.append(f"{error.filename}: {error.strerror}")
    layers: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        *(("default" if path is DEFAULTS else str(path), partial(_read, path)) for path in paths),
        *(("--set", partial(_setting, setting)) for setting in settings),
    ]
    found: dict[str, Origin] = {}
    for layer, read in layers:
        try:
            values, wrong = _checked(read())
        except ValueError as error:
            problems.append(f"{layer}: {error}")
            continue
        found |= {key: Origin(value, layer) for key, value in values.items()}
        problems += [f"{layer}: {problem}" for problem in wrong]
    if problems:
        raise ConfigError(problems)
    return found


def toml(value: bool | int | float | str | Sequence[Any]) -> str:
    """*value* as TOML writes it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return f"[{', '.join(toml(entry) for entry in value)}]"


def _files(etc: Path) -> list[Path]:
    """The files in *etc*, in the order in which they are layers. Hidden ones are half-written ones, of Ansible for one.

    They are listed, not tried: a dangling link or a folder that may not be read is an OSError, not a missing file.
    """
    try:
        names = [path.name for path in etc.iterdir()]
    except FileNotFoundError:
        return []
    files = [etc / "config.toml"] if "config.toml" in names else []
    if "conf.d" in names:
        extra = (etc / "conf.d").iterdir()
        files += sorted(path for path in extra if path.suffix == ".toml" and not path.name.startswith("."))
    return files


def _read(path: Path) -> dict[str, Any]:
    """The tables in the file at *path*; ValueError says why there are none."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror) from None
    if len(data) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES // 1024} KiB, this is no configuration")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise ValueError(f"line {line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None
    try:
        return _parsed(text)
    except ValueError as error:
        hint = "; text needs quotes" if str(error).startswith("Invalid value") else ""
        raise ValueError(f"not TOML: {error}{hint}") from None


def _setting(setting: str) -> dict[str, Any]:
    """The table of one `section.key=value`; ValueError says why there is none, and how to quote it for the shell."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise ValueError(f"{_short(key)}: no value; accepted: section.key=value")
    try:
        return _parsed(setting)
    except ValueError:
        raise ValueError(f"{_short(key)}: {_short(value)} is not TOML; {_advice(key, value)}") from None


def _advice(key: str, value: str) -> str:
    """What to write instead of a value that is not TOML: mostly its quotes are missing, or the shell ate them."""
    value = without_secrets(value)
    quoted = toml(value)
    for candidate in (quoted, value.lower(), f"[{quoted}]"):
        meant = f"{key}={candidate}"
        try:
            _, wrong = _checked(_parsed(meant))
        except ValueError:
            continue
        if not wrong:
            return f"did you mean {shlex.quote(meant)}?"
    return """accepted: section.key=value, text in quotes, such as 'source.kind="pattern"'"""


def _parsed(text: str) -> dict[str, Any]:
    """*text* as TOML; ValueError names the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # int() refuses thousands of digits
        raise ValueError("a number is too long") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _checked(tables: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values in *tables* that are accepted, by `section.key`, and what is wrong with the others."""
    known = _converters()
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for section, table in tables.items():
        if section not in known:
            wrong.append(f"{_name(section)}: unknown section; {_guess(section, known, known)}")
        elif not isinstance(table, dict):
            wrong.append(f"{section}: {_shown(table)} cannot be used; accepted: a table, which begins with [{section}]")
        else:
            for key, raw in table.items():
                name = f"{section}.{_name(key)}"
                if key not in known[section]:
                    wrong.append(f"{name}: unknown key; {_guess(key, known[section], known)}")
                    continue
                try:
                    values[name] = known[section][key](raw)
                except ValueError as error:
                    wrong.append(f"{name}: {error}")
    return values, wrong


def _converters() -> dict[str, dict[str, _Converter]]:
    """For each section and key, what its annotation says."""

    def converter(hint: Any) -> Any:
        return hint.__metadata__[0] if hasattr(hint, "__metadata__") else _CONVERTERS[hint]

    return {
        section: {key: converter(hint) for key, hint in get_type_hints(kind, include_extras=True).items()}
        for section, kind in get_type_hints(Config).items()
    }


def _guess(name: str, nearby: Iterable[str], known: Mapping[str, Iterable[str]]) -> str:
    """What may have been meant by *name*, which is none of the *nearby* ones: a key in the wrong section, or a slip."""
    elsewhere = [f"{section}.{name}" for section, keys in known.items() if name in keys]
    guesses = elsewhere or difflib.get_close_matches(name, nearby, n=1)
    return f"did you mean {guesses[0]}?" if guesses else f"accepted: {', '.join(nearby)}"


def _name(key: str) -> str:
    """*key* on one line, whatever is in it."""
    return key if key.replace("-", "_").isidentifier() and len(key) <= 60 else _short(toml(key))


def _shown(raw: Any) -> str:
    """A value from a file, short and on one line, however strange it is."""
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        nested = any(isinstance(entry, list | dict) for entry in raw)
        return "a list" if nested else _short(f"[{', '.join(map(_shown, raw))}]")
    if isinstance(raw, bool | int | float | str):
        try:
            return _short(toml(raw))
        except ValueError:  # str() refuses thousands of digits
            return "a number this long"
    return str(raw)  # a date or a time


def _short(text: str) -> str:
    text = without_secrets(text)
    shortened = text if len(text) <= 60 else f"{text[:57]}..."
    return shortened if shortened.isprintable() else ascii(shortened)
