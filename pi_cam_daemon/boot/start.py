"""The command `boot`, run at each boot before the camera: name the machine, apply pi-cam.toml, announce the page."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable
from pathlib import Path

from pi_cam_daemon.boot import given_users, pi_cam_toml, wifi
from pi_cam_daemon.config import last_good
from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import avahi, files

FOLDER = Path("boot/firmware")
# the layer of the configuration that pi-cam.toml becomes
LAYER = Path("etc/pi-cam-daemon/conf.d/pi-cam.toml")
# Raspberry Pi OS gives every machine the same name; any other name was chosen by somebody
_DEFAULT_NAMES = ("", "localhost", "raspberrypi")
_SERIAL = Path("sys/firmware/devicetree/base/serial-number")
# not in /run/issue.d, which agetty ignores if there is an /etc/issue
_ISSUE = Path("etc/issue.d/pi-cam-daemon.issue")


def run(
    root: Path,
    set_hostname: Callable[[str], None] = socket.sethostname,
    set_country: Callable[[str], None] = wifi.set_country,
) -> None:
    """Do all of it, but write no file that is right already. Raises ConfigError for pi-cam.toml after the rest."""
    name_host(root, set_hostname)
    try:
        configure(root, set_country)
    finally:
        announce(root)


def name_host(root: Path, set_hostname: Callable[[str], None]) -> None:
    """Give the machine a name of its own, such as picam-1a2b3c, unless somebody has chosen one."""
    hostname, hosts = root / "etc/hostname", root / "etc/hosts"
    if files.text(hostname) not in _DEFAULT_NAMES:
        return
    name = f"picam-{_identity(root)[-6:]}"
    if hosts.exists():
        kept = [line for line in hosts.read_text().splitlines() if not line.startswith("127.0.1.1")]
        files.replace(hosts, "\n".join([*kept, f"127.0.1.1\t{name}", ""]).encode())
    # last: an interrupted boot does all of this again while the default name is there
    files.replace(hostname, f"{name}\n".encode())
    set_hostname(name)


def is_card(root: Path) -> bool:
    """Return whether this system boots as a card does, and not as a host of somebody's own."""
    return (root / _ISSUE).exists()


def _identity(root: Path) -> str:
    """Return the board's serial number, else the address of its first network interface, else a hash of machine-id."""
    serial = files.text(root / _SERIAL).strip("\0")
    if re.fullmatch("[0-9a-fA-F]{6,}", serial):
        return serial.lower()
    for interface in sorted((root / "sys/class/net").glob("*/device")):
        if address := files.text(interface.parent / "address"):
            return address.replace(":", "")
    return hashlib.sha256((root / "etc/machine-id").read_bytes()).hexdigest()


def configure(root: Path, set_country: Callable[[str], None]) -> None:
    """Apply pi-cam.toml, the whole file or nothing."""
    paths = pi_cam_toml.find(root / FOLDER)
    if not paths:
        return
    found = read(paths[0], root)
    if found.users:
        given_users.configure(found.users, root)
    wifi.configure(found.wifi, root)
    if found.wifi.country:
        set_country(found.wifi.country)
    files.replace(root / LAYER, found.settings.encode())
    if found.has_password:
        pi_cam_toml.blank_passwords(found.path)


def read(path: Path, root: Path) -> pi_cam_toml.BootConfig:
    """Return what pi-cam.toml at *path* says. Raises ConfigError with what is wrong, users without a password too."""
    found = pi_cam_toml.read(path)
    if problems := given_users.missing(found.users, root):
        raise ConfigError([f"{path.name}: {problem}" for problem in problems])
    return found


def announce(root: Path) -> None:
    """Tell avahi and the login screen on which port the page is."""
    http = last_good.in_force(root).http
    avahi.announce(root, http.scheme, http.port)
    show_addresses(root, http)


def show_addresses(root: Path, http: HttpConfig, name: str = "\\n.local") -> bool:
    """Write the addresses of the page above the login, with the mDNS name *name*. Return whether that is new."""
    # agetty replaces \n and \4 by the machine's name and address
    where = [f"{http.scheme}://{host}:{http.port}/" for host in (name, "\\4")]
    return files.replace(root / _ISSUE, f"Camera: {'  '.join(where)}\n\n".encode())
