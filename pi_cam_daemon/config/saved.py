"""The controls that were saved on request: a file in the state directory, one of the layers of the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pi_cam_daemon.config import kinds, loading
from pi_cam_daemon.config.text import Value, toml
from pi_cam_daemon.system import files

_HEAD = '# Saved controls. pi-cam-daemon writes this file whenever controls are saved, and removes it on "forget".\n'
_KINDS = [name for name, kind in kinds.KINDS.items() if kind.controls]


def file() -> Path:
    """Return the path of the file: in the StateDirectory of the unit, or in its usual place."""
    return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/pi-cam-daemon", "controls.toml")


def read(path: Path, kind: str) -> dict[str, Value]:
    """Return the saved controls for a camera of *kind*."""
    return dict(loading.accepted_in(path, kinds.of(kind).controls))


def write(path: Path, kind: str, settings: Mapping[str, Value]) -> None:
    """Save *settings* for a camera of *kind*, and leave those of the other kinds. Raises OSError."""
    text = _HEAD
    for other in _KINDS:
        controls = settings if other == kind else read(path, other)
        text += "".join(f"{kinds.of(other).controls}.{name} = {toml(value)}\n" for name, value in controls.items())
    files.replace(path, text.encode())


def forget(path: Path, kind: str) -> None:
    """Remove the saved controls of a camera of *kind*. Raises OSError."""
    if any(read(path, other) for other in _KINDS if other != kind):
        write(path, kind, {})
    else:
        files.remove(path)
