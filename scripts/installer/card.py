"""A card that scripts/build-image made, and what it has besides a release."""

from __future__ import annotations

from pathlib import Path

# a card is a machine that has this; it says what is enabled there
PRESET = Path("/etc/systemd/system-preset/00-pi-cam-daemon.preset")
# units that only a card has; the others serve every machine
UNITS = ("pi-cam-daemon-boot.service", "pi-cam-daemon-first-boot.service")
# what the command `boot` writes at each boot
WRITTEN = (Path("/etc/issue.d/pi-cam-daemon.issue"), Path("/etc/avahi/services/pi-cam-daemon.service"))
# the image's settings, also where their owner has copied them from opt-in/, and the partition that a PC shows
SETTINGS = (
    PRESET,
    Path("/etc/systemd/system/systemd-sysusers.service.d/pi-cam-daemon.conf"),
    Path("/etc/systemd/system.conf.d/pi-cam-daemon.conf"),
    Path("/etc/systemd/journald.conf.d/pi-cam-daemon.conf"),
    Path("/etc/NetworkManager/conf.d/pi-cam-daemon.conf"),
    Path("/usr/local/sbin/pi-cam-daemon-update"),
    *(Path("/boot/firmware") / name for name in ("pi-cam.toml", "pi-cam-status.txt")),
)
# by these the machine reaches its network; they stay
NETWORK = (
    Path("/etc/NetworkManager/system-connections/pi-cam-daemon.nmconnection"),
    Path("/etc/modprobe.d/pi-cam-daemon-wifi.conf"),
)


def is_card() -> bool:
    """Return whether this machine was made by scripts/build-image."""
    return PRESET.exists()
