"""The controls that were saved on request: a file in the state directory, which is a layer of the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pi_cam_daemon import layers
from pi_cam_daemon.text import Value, toml

_HEAD = (
    "# Saved by pi-cam-daemon on request; it writes this file anew each time, and removes it when it is to forget.\n"
)
# the parts of the configuration that hold the settings of each kind of camera
_KEYS = {"csi": "controls", "usb": "usb.controls"}


def file() -> Path:
    """Where they are saved: in the unit's StateDirectory, or where that usually is."""
    return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/pi-cam-daemon", "controls.toml")


def read(path: Path, kind: str) -> dict[str, Value]:
    """What is saved for a camera of *kind*."""
    found = layers.accepted_in(path)
    if kind == "usb":
        return dict(found.get("usb.controls", {}))
    if kind != "csi":
        return {}
    return {name.removeprefix("controls."): value for name, value in found.items() if name.startswith("controls.")}


def write(path: Path, kind: str, settings: Mapping[str, Value]) -> None:
    """Save *settings* for a camera of *kind*, and leave those of the other kinds. Raises OSError."""
    every = {other: read(path, other) for other in _KEYS} | {kind: dict(settings)}
    lines = [f"{_KEYS[kind]}.{name} = {toml(value)}\n" for kind, kept in every.items() for name, value in kept.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".new")
    with part.open("w", encoding="utf-8") as file:
        file.write(_HEAD + "".join(lines))
        file.flush()
        os.fsync(file.fileno())  # a Pi loses its power without a word
    part.replace(path)


def forget(path: Path, kind: str) -> None:
    """Save nothing any more for a camera of *kind*. Raises OSError."""
    if any(read(path, other) for other in _KEYS if other != kind):
        write(path, kind, {})
    else:
        path.unlink(missing_ok=True)
