"""Controls that were saved on request: a file in the state directory, which is a layer of the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pi_cam_daemon.config import kinds, loading
from pi_cam_daemon.config.text import Value, toml
from pi_cam_daemon.system import files

_HEAD = (
    "# Saved by pi-cam-daemon on request; it writes this file anew each time, and removes it when it is to forget.\n"
)
_KINDS = [name for name, kind in kinds.KINDS.items() if kind.controls]


def file() -> Path:
    """Return the path of the file: in the unit's StateDirectory, or where that usually is."""
    return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/pi-cam-daemon", "controls.toml")


def read(path: Path, kind: str) -> dict[str, Value]:
    """Return what is saved for a camera of *kind*."""
    return dict(loading.accepted_in(path, kinds.of(kind).controls))


def write(path: Path, kind: str, settings: Mapping[str, Value]) -> None:
    """Save *settings* for a camera of *kind*, and leave those of the other kinds. Raises OSError."""
    every = {other: read(path, other) for other in _KINDS} | {kind: dict(settings)}
    lines = [
        f"{kinds.of(other).controls}.{name} = {toml(value)}\n"
        for other, kept in every.items()
        for name, value in kept.items()
    ]
    files.replace(path, (_HEAD + "".join(lines)).encode(), 0o600)


def forget(path: Path, kind: str) -> None:
    """Remove what is saved for a camera of *kind*. Raises OSError."""
    if any(read(path, other) for other in _KINDS if other != kind):
        write(path, kind, {})
    else:
        path.unlink(missing_ok=True)
