"""Read the configuration from its layers, and report every problem in all of them at once.

Later layers win, key by key: default.toml, /etc/pi-cam-daemon/config.toml, /etc/pi-cam-daemon/conf.d/*.toml by name,
the saved settings and controls, `--set section.key=value`. Every value of every layer is checked, even if a later one
replaces it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from pi_cam_daemon.config import converters, guessing, parsing
from pi_cam_daemon.config.converters import Converter
from pi_cam_daemon.config.schema import CameraConfig, Config
from pi_cam_daemon.config.text import short, shown, toml
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files, setup
from pi_cam_daemon.system.redaction import without_secrets

DEFAULTS = Path(__file__).with_name("default.toml")
ETC = Path("/etc/pi-cam-daemon")
NEWER_KEYS = Path("/") / setup.NEWER_KEYS

log = logging.getLogger(__name__)

_MOST_BYTES = 256 * 1024  # about fifty times default.toml; refuses /dev/zero, too

# for annotations that are only a type
_CONVERTERS: dict[Any, Converter] = {bool: converters.boolean, str: converters.text}

# in the place of a saved value that is wrong: what it hid may be anywhere in the picture
_SAFE = {"video.masks": [[0.0, 0.0, 1.0, 1.0]]}

_Layer = tuple[str, dict[str, Any]]  # its name, and its valid values by `section.key`


@dataclass(frozen=True)
class Loaded:
    """A configuration as it was read. Values are by `section.key`.

    *config* is with the saved settings, but without the saved controls; *camera* is the camera's part with both, and
    *configured* is without either. *files* are the values of the files alone, without defaults. *saved* are the saved
    settings, and *fixed* the keys of `--set`, which stands above them.
    """

    config: Config
    camera: CameraConfig
    configured: Config
    files: dict[str, Any]
    saved: dict[str, Any]
    fixed: frozenset[str]

    def with_values(self, values: Mapping[str, Any]) -> Loaded:
        """Return a copy in which *values* replace settings of [http] or of another section that is not the camera's."""
        return replace(self, config=self.config.with_values(values), configured=self.configured.with_values(values))


def load(file: Path | None = None, settings: Sequence[str] = (), etc: Path = ETC, saved: Sequence[Path] = ()) -> Config:
    """Return the configuration in force: default.toml, *file* or the files in *etc*, *saved*, *settings*; later wins.

    *settings* are of the form `section.key=value`, the value in TOML. *saved* are the daemon's own files; wrong
    values in them are ignored with a warning. Files in *etc* may be missing, *file* may not. Raises ConfigError
    with every problem in every other layer.
    """
    return _config(_layers(file, settings, etc, saved))


def load_all(file: Path | None, settings: Sequence[str], saved_settings: Path, saved_controls: Path) -> Loaded:
    """Return the configuration of all layers, as `load` reads them. Raises ConfigError."""
    layers = _layers(file, settings, ETC, (saved_settings, saved_controls))

    def without(*names: str | Path) -> list[_Layer]:
        return [layer for layer in layers if layer[0] not in map(str, names)]

    configured = without(saved_settings, saved_controls)
    return Loaded(
        config=_config(without(saved_controls)),
        camera=_config(layers).camera,
        configured=_config(configured),
        files=_values([layer for layer in configured[1:] if layer[0] != "--set"]),  # the first are the defaults
        saved=_values([layer for layer in layers if layer[0] == str(saved_settings)]),
        fixed=frozenset(_values([layer for layer in layers if layer[0] == "--set"])),
    )


def _values(layers: list[_Layer]) -> dict[str, Any]:
    return {key: value for key, (value, _) in _merged(layers).items()}


def _config(layers: list[_Layer]) -> Config:
    kept = _values(layers)
    return Config(
        **{
            section: kind(**{key.name: _value(kept, f"{section}.{key.name}") for key in fields(kind)})
            for section, kind in get_type_hints(Config).items()
        }
    )


def _value(kept: dict[str, Any], key: str) -> Any:
    """Return the value of *key*. The entries of a table of the camera's controls are kept one by one."""
    if key in kept:
        return kept[key]
    return {name.removeprefix(f"{key}."): value for name, value in kept.items() if name.startswith(f"{key}.")}


def origins(
    file: Path | None = None, settings: Sequence[str] = (), etc: Path = ETC, saved: Sequence[Path] = ()
) -> dict[str, tuple[Any, str]]:
    """Return for each `section.key` the value in force, and its layer: a path, "default" or "--set". Else as `load`."""
    return _merged(_layers(file, settings, etc, saved))


def _layers(file: Path | None, settings: Sequence[str], etc: Path, saved: Sequence[Path]) -> list[_Layer]:
    """Read and check all layers, in their order."""
    problems: list[str] = []
    readers = [("default", partial(_read, DEFAULTS))]
    try:
        readers += [(str(path), partial(_read, path)) for path in ([file] if file else files_in(etc))]
    except OSError as error:
        problems.append(f"{error.filename}: {files.explain(error, Path(error.filename))}")
    readers += [(str(path), partial(_read, path)) for path in saved if _may_exist(path)]
    readers += [("--set", partial(_setting, setting)) for setting in settings]
    layers: list[_Layer] = []
    for layer, read in readers:
        try:
            tables, ignored = _without_newer_keys(read())
            accepted, wrong = _checked(tables)
        except ValueError as error:
            accepted, wrong, ignored = {}, [str(error)], []
        layers.append((layer, accepted))
        for key in ignored:
            log.warning("%s: %s: ignored; a newer release has this key, and this one does not know it", layer, key)
        for problem in wrong:
            if layer in map(str, saved):  # the daemon wrote it: the camera must start all the same
                log.warning("%s: %s; ignored", layer, problem)
                accepted |= {key: value for key, value in _SAFE.items() if problem.startswith(f"{key}: ")}
            else:
                problems.append(f"{layer}: {problem}")
    if problems:
        raise ConfigError(problems)
    return layers


def _merged(layers: list[_Layer]) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for layer, accepted in layers:
        for key, value in accepted.items():
            if isinstance(value, dict) and value:
                found.pop(key, None)  # an empty table
                found |= {f"{key}.{name}": (entry, layer) for name, entry in value.items()}
            elif value != {} or not any(name.startswith(f"{key}.") for name in found):
                found[key] = value, layer
    return found


def accepted_in(path: Path, key: str) -> Any:
    """Return the table *key* in the file at *path*, without its wrong entries; {} if the file cannot be read."""
    try:
        return _value(_checked(_read(path))[0], key)
    except ValueError:
        return {}


def _may_exist(path: Path) -> bool:
    """Return whether *path* exists; also True if its folder may not be entered, which reading it then reports."""
    try:
        return path.exists()
    except PermissionError:
        return True


def files_in(etc: Path) -> list[Path]:
    """Return the files in *etc*, in the order of the layers, without hidden ones: Ansible's half-written files.

    Lists the folders instead of trying to open files: a dangling link must be an error, not a missing file.
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
    """Return the tables in the file at *path*. Raises ValueError."""
    try:
        text = parsing.decode(files.read(path, _MOST_BYTES, "configuration"))[2]
    except OSError as error:
        raise ValueError(files.explain(error, path)) from None
    try:
        return parsing.parse(text)
    except ValueError as error:
        raise ValueError(f"not TOML: {error}") from None


def _setting(setting: str) -> dict[str, Any]:
    """Return the table in one `section.key=value`. Raises ValueError, which also says how to quote it in a shell."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise ValueError(f"{short(key)}: no value; accepted: section.key=value")
    try:
        return parsing.parse(setting)
    except ValueError:
        raise ValueError(f"{short(key)}: {short(value)} is not TOML; {_advice(key, value)}") from None


def _advice(key: str, value: str) -> str:
    """Return a correction of a value that is not TOML. Mostly its quotes are missing, or the shell removed them."""
    if setting := _valid(key, value):
        return f"did you mean {setting}?"
    return """accepted: section.key=value, text in quotes, such as 'source.kind="pattern"'"""


def meant(name: str, value: str) -> str:
    """Return `section.key=value` in a shell's words for a *name* that may be part of a key; "" if it is like none."""
    key = guessing.full_key(name, _converters())
    return key and (_valid(key, value) or f"{key}=VALUE")


def _valid(key: str, value: str) -> str:
    """Return `section.key=value` in a shell's words, in quotes or brackets if *value* lacks them; "" if it is wrong."""
    value = without_secrets(value)
    quoted = toml(value)
    for candidate in (value, quoted, value.lower(), f"[{quoted}]"):
        setting = f"{key}={candidate}"
        with contextlib.suppress(ValueError):
            if not problems(parsing.parse(setting)):
                return shlex.quote(setting)
    return ""


def converted(key: str, raw: Any) -> Any:
    """Return the value *raw* of *key*, a known `section.key`, as the configuration keeps it. Raises ValueError."""
    section, _, name = key.partition(".")
    return _converters()[section][name](raw)


def problems(tables: dict[str, Any], others: Collection[str] = ()) -> list[str]:
    """Return what is wrong with the parsed TOML *tables*. *others* are the sections that the caller checks itself."""
    return _checked(_without_newer_keys(tables)[0], others)[1]


def _without_newer_keys(tables: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return *tables* without the keys that only a newer release knows, and the names of these.

    The installer lists them when it goes back to this release. Any other unknown key stays a mistake.
    """
    newer = set(files.text(NEWER_KEYS).split())
    known = _converters()
    kept: dict[str, Any] = {}
    ignored: list[str] = []
    for section, table in tables.items():
        unknown = [key for key in table if key not in known.get(section, ())] if isinstance(table, dict) else []
        dropped = [key for key in unknown if f"{section}.{key}" in newer]
        ignored += [f"{section}.{key}" for key in dropped]
        # a new section with nothing else in it is not known either
        if not dropped or section in known or len(dropped) < len(table):
            kept[section] = {key: value for key, value in table.items() if key not in dropped} if dropped else table
    return kept, ignored


def _checked(tables: dict[str, Any], others: Collection[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Return the valid values in *tables*, by `section.key`, and the problems of the others."""
    known = _converters()
    accepted: dict[str, Any] = {}
    wrong: list[str] = []
    for section, table in tables.items():
        if section not in known and isinstance(table, dict):
            hint = guessing.section(section, table, {**known, **dict.fromkeys(others, ())})
            wrong.append(f"{_name(section)}: unknown section; {hint}")
        elif section not in known:
            wrong.append(f"{_name(section)}: a key without a section; {guessing.key(section, '', known)}")
        elif not isinstance(table, dict):
            wrong.append(f"{section}: {shown(table)} cannot be used; accepted: a table, which begins with [{section}]")
        else:
            for key, raw in table.items():
                name = f"{section}.{_name(key)}"
                if key not in known[section]:
                    wrong.append(f"{name}: unknown key; {guessing.key(key, section, known)}")
                    continue
                convert = known[section][key]
                try:
                    accepted[name] = convert(raw)
                except ValueError as error:
                    wrong.append(f"{name}: {error}{converters.correction(raw, convert)}")
    return accepted, wrong


@functools.cache
def _converters() -> dict[str, dict[str, Converter]]:
    """Return the converter of each key in each section, from the annotations of the schema."""

    def converter(hint: Any) -> Any:
        return hint.__metadata__[0] if hasattr(hint, "__metadata__") else _CONVERTERS[hint]

    return {
        section: {key: converter(hint) for key, hint in get_type_hints(kind, include_extras=True).items()}
        for section, kind in get_type_hints(Config).items()
    }


def _name(key: str) -> str:
    """Return *key* on one line, whatever it contains."""
    return key if key.replace("-", "_").isidentifier() and len(key) <= 60 else short(toml(key))
