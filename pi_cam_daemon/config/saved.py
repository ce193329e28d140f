"""Settings and controls that were saved on request: two files in the state directory, layers of the configuration.

One has the controls, for each kind of camera; the other one settings of all kinds, which an admin sets on the page.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from pi_cam_daemon.config import kinds, loading
from pi_cam_daemon.config.text import Setting, Value, toml
from pi_cam_daemon.system import files, setup

_SETTINGS_HEAD = "# Saved settings. pi-cam-daemon writes this file whenever an admin sets some on the page.\n"
_HEAD = '# Saved controls. pi-cam-daemon writes this file whenever controls are saved, and removes it on "forget".\n'
_KINDS = [name for name, kind in kinds.KINDS.items() if kind.controls]


def folder() -> Path:
    """Return the state directory: STATE_DIRECTORY, which systemd sets, or that of the checkout, or the service's."""
    if given := os.environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    checkout = setup.checkout()
    return checkout / "state" if checkout else Path("/var/lib/pi-cam-daemon")


def clips_folder(configured: str = "") -> Path:
    """Return the folder of the clips: the *configured* one, or else the recorder's own."""
    return Path(configured) if configured else folder() / "recordings"


def hold_folder() -> bool:
    """Hold the state directory until this process ends. Return False if another process holds it."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        fcntl.flock(os.open(folder(), os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)  # never closed
    except BlockingIOError:
        return False
    except OSError:  # nothing can be saved there
        pass
    return True


def settings_file() -> Path:
    return folder() / "settings.toml"


def controls_file() -> Path:
    return folder() / "controls.toml"


def both_files() -> tuple[Path, Path]:
    """Return the paths of both files, in the order of the layers."""
    return settings_file(), controls_file()


def write_settings(path: Path, settings: Mapping[str, Setting]) -> None:
    """Save *settings*, by `section.key`, in place of those before. Raises OSError."""
    if settings:
        text = _SETTINGS_HEAD + "".join(f"{key} = {toml(value)}\n" for key, value in settings.items())
        files.replace(path, text.encode())
    else:
        files.remove(path)


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
