"""The preset, which says what the first boot of a copy of this machine enables.

systemd applies presets where there is no /etc/machine-id yet, and enables every unit that no preset names.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from installer.machine import put

FOLDER = Path("/usr/local/lib/systemd/system-preset")
ETC = Path("/etc/systemd/system")
_NAME = "00-pi-cam-daemon.preset"
_HEAD = "# Each installation writes what was enabled then. The first boot of a copy of this machine enables the same.\n"


def write() -> None:
    """Make what is enabled now the preset."""
    put(FOLDER / _NAME, text(link.name for link in ETC.glob("*.wants/pi-cam-daemon*")).encode())


def text(enabled: Iterable[str]) -> str:
    """Return a preset that enables the units *enabled*, and no other of this program."""
    names = sorted(set(enabled))
    lines = [f"enable {name}" for name in names if "@" not in name]
    instances: dict[str, list[str]] = {}
    for template, at, instance in (name.partition("@") for name in names):
        if at:
            instances.setdefault(template, []).append(instance.removesuffix(".service"))
    lines += [f"enable {template}@.service {' '.join(found)}" for template, found in instances.items()]
    return _HEAD + "".join(f"{line}\n" for line in [*lines, "disable pi-cam-daemon*"])
