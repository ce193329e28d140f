"""What a card made by scripts/build-image does at each boot before the camera starts: `pi-cam-daemon boot`.

It names the machine, puts pi-cam.toml in force, and tells the network and the login screen where the page is. What is
as it should be is not written again. *root* is where the file system begins; tests give one of their own.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable
from pathlib import Path

from pi_cam_daemon.boot import given_users, pi_cam_toml, wifi
from pi_cam_daemon.config import loading
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import avahi, files

FOLDER = Path("boot/firmware")
LAYER = Path("etc/pi-cam-daemon/conf.d") / pi_cam_toml.LAYER

# what Raspberry Pi OS calls every machine; any other name was chosen by somebody
_DEFAULT_NAMES = ("", "localhost", "raspberrypi")
_SERIAL = Path("sys/firmware/devicetree/base/serial-number")
# not /run/issue.d, which agetty does not look into where there is an /etc/issue
_ISSUE = Path("etc/issue.d/pi-cam-daemon.issue")


def run(
    root: Path,
    set_hostname: Callable[[str], None] = socket.sethostname,
    set_country: Callable[[str], None] = wifi.set_country,
) -> None:
    """All of it. Raises ConfigError with what is wrong in pi-cam.toml; the rest is done then, too."""
    name_host(root, set_hostname)
    try:
        configure(root, set_country)
    finally:
        announce(root)


def name_host(root: Path, set_hostname: Callable[[str], None]) -> None:
    """A name that no other camera on the network has, unless somebody has chosen one."""
    hostname, hosts = root / "etc/hostname", root / "etc/hosts"
    if files.text(hostname) not in _DEFAULT_NAMES:
        return
    name = f"picam-{_identity(root)[-6:]}"
    if hosts.exists():
        kept = [line for line in hosts.read_text().splitlines() if not line.startswith("127.0.1.1")]
        files.replace(hosts, "\n".join([*kept, f"127.0.1.1\t{name}", ""]).encode())
    # last: as long as it is the default one, an interrupted boot is made up for
    files.replace(hostname, f"{name}\n".encode())
    set_hostname(name)


def _identity(root: Path) -> str:
    """The board's serial number, else that of its first network interface, else of this installation."""
    serial = files.text(root / _SERIAL).strip("\0")
    if re.fullmatch("[0-9a-fA-F]{6,}", serial):
        return serial.lower()
    for interface in sorted((root / "sys/class/net").glob("*/device")):
        if address := files.text(interface.parent / "address"):
            return address.replace(":", "")
    return hashlib.sha256((root / "etc/machine-id").read_bytes()).hexdigest()


def configure(root: Path, set_country: Callable[[str], None]) -> None:
    """Put pi-cam.toml in force, all of it or nothing."""
    paths = pi_cam_toml.find(root / FOLDER)
    if not paths:
        return
    path = paths[0]
    found = read(path, root)
    if found.users:
        given_users.configure(found.users, root)
    wifi.configure(found.wifi, root)
    if found.wifi.country:
        set_country(found.wifi.country)
    files.replace(root / LAYER, found.settings.encode())
    if found.has_password:
        pi_cam_toml.blank_passwords(path)


def read(path: Path, root: Path) -> pi_cam_toml.BootConfig:
    """Read pi-cam.toml at *path*. Raises ConfigError with what is wrong in it, also with who has no password."""
    found = pi_cam_toml.read(path)
    if problems := given_users.missing(found.users, root):
        raise ConfigError([f"{path.name}: {problem}" for problem in problems])
    return found


def announce(root: Path) -> None:
    """Tell avahi and the login screen on which port the page is."""
    http = loading.in_force(root).http
    avahi.announce(root, http.scheme, http.port)
    # \n and \4: agetty's for the name and the address of the machine
    where = [f"{http.scheme}://{name}:{http.port}/" for name in ("\\n.local", "\\4")]
    files.replace(root / _ISSUE, f"Camera: {'  '.join(where)}\n\n".encode())
