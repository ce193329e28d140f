"""Reads the configuration, layer over layer, and tells every mistake in all of them at once.

Later wins, key by key: default.toml, /etc/pi-cam-daemon/config.toml, /etc/pi-cam-daemon/conf.d/*.toml by name, the
controls that were saved, `--set section.key=value`. Every value of every layer is checked, also one that a later layer
replaces.
"""

from __future__ import annotations

import difflib
import logging
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from pi_cam_daemon.config import converters
from pi_cam_daemon.config.converters import Converter
from pi_cam_daemon.config.schema import CameraConfig, Config
from pi_cam_daemon.config.text import short, shown, toml
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files
from pi_cam_daemon.system.redaction import without_secrets

DEFAULTS = Path(__file__).with_name("default.toml")
ETC = Path("/etc/pi-cam-daemon")

log = logging.getLogger(__name__)

# some fifty times default.toml: what is larger is not a configuration (/dev/zero has no end)
_MOST_BYTES = 256 * 1024

# where the annotation says no more than the type
_CONVERTERS: dict[Any, Converter] = {bool: converters.boolean, str: converters.text}


# its name, and what it accepts by `section.key`
_Layer = tuple[str, dict[str, Any]]


class Origin(NamedTuple):
    """A value that is in force, and the layer that set it: a file's name, `default` or `--set`."""

    value: Any
    layer: str


def load(file: Path | None = None, settings: Sequence[str] = (), etc: Path = ETC, saved: Path | None = None) -> Config:
    """Return the configuration in force: default.toml, *file* or the files in *etc*, *saved*, *settings*; later wins.

    *settings* are of the form `section.key=value`, the value in TOML. *saved* is a file of controls that the daemon
    wrote itself; what is wrong in it is left out, with a warning. Files in *etc* may be missing, *file* may not.
    Raises ConfigError with every problem in every other layer.
    """
    return _config(_layers(file, settings, etc, saved))


def load_both(file: Path | None, settings: Sequence[str], saved: Path) -> tuple[Config, CameraConfig]:
    """Read all files once; return the configuration without *saved*, and the camera's part of it with *saved*.

    Arguments and errors are those of `load`.
    """
    layers = _layers(file, settings, ETC, saved)
    return _config([layer for layer in layers if layer[0] != str(saved)]), _config(layers).camera


def _config(layers: list[_Layer]) -> Config:
    kept = {key: origin.value for key, origin in _merged(layers).items()}
    return Config(
        **{
            section: kind(**{key.name: _value(kept, f"{section}.{key.name}") for key in fields(kind)})
            for section, kind in get_type_hints(Config).items()
        }
    )


def in_force(root: Path) -> Config:
    """Return the configuration below *root*, or the defaults where that is wrong, which the daemon tells."""
    try:
        return load(etc=root / ETC.relative_to("/"))
    except ConfigError:
        return load(DEFAULTS)


def _value(kept: dict[str, Any], key: str) -> Any:
    """Return the value of *key*, put together if it is a table whose entries are kept one by one."""
    if key in kept:
        return kept[key]
    return {name.removeprefix(f"{key}."): value for name, value in kept.items() if name.startswith(f"{key}.")}


def origins(
    file: Path | None = None, settings: Sequence[str] = (), etc: Path = ETC, saved: Path | None = None
) -> dict[str, Origin]:
    """Return for each `section.key` the value in force and the layer that set it. Arguments and errors: see `load`."""
    return _merged(_layers(file, settings, etc, saved))


def _layers(file: Path | None, settings: Sequence[str], etc: Path, saved: Path | None) -> list[_Layer]:
    """Read and check all layers, the first one first."""
    problems: list[str] = []
    paths = [DEFAULTS]
    try:
        paths += _files(etc) if file is None else [file]
    except OSError as error:
        problems.append(f"{error.filename}: {error.strerror}")
    readers: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        *(("default" if path is DEFAULTS else str(path), partial(_read, path)) for path in paths),
        *([(str(saved), partial(_read, saved))] if saved and saved.exists() else []),
        *(("--set", partial(_setting, setting)) for setting in settings),
    ]
    layers: list[_Layer] = []
    for layer, read in readers:
        try:
            accepted, wrong = _checked(read())
        except ValueError as error:
            accepted, wrong = {}, [str(error)]
        if saved and layer == str(saved):
            # machine-written: a camera that does not start because of it would be worse than a warning
            for problem in wrong:
                log.warning("%s: %s; left out", layer, problem)
            wrong = []
        layers.append((layer, accepted))
        problems += [f"{layer}: {problem}" for problem in wrong]
    if problems:
        raise ConfigError(problems)
    return layers


def _merged(layers: list[_Layer]) -> dict[str, Origin]:
    found: dict[str, Origin] = {}
    for layer, accepted in layers:
        for key, value in accepted.items():
            if isinstance(value, dict) and value:
                found.pop(key, None)  # the empty table of default.toml
                found |= {f"{key}.{name}": Origin(entry, layer) for name, entry in value.items()}
            elif value != {} or not any(name.startswith(f"{key}.") for name in found):
                found[key] = Origin(value, layer)
    return found


def accepted_in(path: Path, key: str) -> Any:
    """Return the value of *key* that the file at *path* has; of a table, the entries that are accepted, maybe none."""
    try:
        return _value(_checked(_read(path))[0], key)
    except ValueError:
        return {}


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
        data = files.read(path, _MOST_BYTES, "configuration")
    except OSError as error:
        raise ValueError(error.strerror) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise ValueError(f"line {line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None
    try:
        return parsed(text)
    except ValueError as error:
        raise ValueError(f"not TOML: {error}") from None


def _setting(setting: str) -> dict[str, Any]:
    """The table of one `section.key=value`; ValueError says why there is none, and how to quote it for the shell."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise ValueError(f"{short(key)}: no value; accepted: section.key=value")
    try:
        return parsed(setting)
    except ValueError:
        raise ValueError(f"{short(key)}: {short(value)} is not TOML; {_advice(key, value)}") from None


def _advice(key: str, value: str) -> str:
    """What to write instead of a value that is not TOML: mostly its quotes are missing, or the shell ate them."""
    value = without_secrets(value)
    quoted = toml(value)
    for candidate in (quoted, value.lower(), f"[{quoted}]"):
        meant = f"{key}={candidate}"
        try:
            _, wrong = _checked(parsed(meant))
        except ValueError:
            continue
        if not wrong:
            return f"did you mean {shlex.quote(meant)}?"
    return """accepted: section.key=value, text in quotes, such as 'source.kind="pattern"'"""


def parsed(text: str) -> dict[str, Any]:
    """Parse *text* as TOML. Raises ValueError, which names the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; text needs quotes" if str(error).startswith("Invalid value") else ""
        raise ValueError(f"{error}{hint}") from None
    except ValueError:  # int() refuses thousands of digits
        raise ValueError("a number is too long") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def problems(tables: dict[str, Any]) -> list[str]:
    """What is wrong with *tables*, as a file has them."""
    return _checked(tables)[1]


def _checked(tables: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What of *tables* is accepted, by `section.key`, and what is wrong with the others."""
    known = _converters()
    accepted: dict[str, Any] = {}
    wrong: list[str] = []
    for section, table in tables.items():
        if section not in known:
            wrong.append(f"{_name(section)}: unknown section; {_guess(section, known, known)}")
        elif not isinstance(table, dict):
            wrong.append(f"{section}: {shown(table)} cannot be used; accepted: a table, which begins with [{section}]")
        else:
            for key, raw in table.items():
                name = f"{section}.{_name(key)}"
                if key not in known[section]:
                    wrong.append(f"{name}: unknown key; {_guess(key, known[section], known)}")
                    continue
                try:
                    accepted[name] = known[section][key](raw)
                except ValueError as error:
                    wrong.append(f"{name}: {error}")
    return accepted, wrong


def _converters() -> dict[str, dict[str, Converter]]:
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
    return key if key.replace("-", "_").isidentifier() and len(key) <= 60 else short(toml(key))
