"""The command `boot-status`: write pi-cam-status.txt on the boot partition, for a person who puts the card into a PC.

On a card the address above the login is corrected, too: only now avahi has chosen a name.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from pi_cam_daemon import __version__
from pi_cam_daemon.boot import network_watch, pi_cam_toml, start, wifi
from pi_cam_daemon.config import last_good, loading, parsing
from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files, machine, network, setup

NAME = "pi-cam-status.txt"
_ANSWER_SECONDS = 10.0
_LAST = "The last correct settings are in use."
_NONE = "There are no correct settings, so the camera does not start."
# statvfs counts 4096 blocks as free that ext4 gives to nobody; the rest is about a hundred times what a boot writes
_FULL_BYTES = 4096 * 4096 + 1_000_000


def write(root: Path) -> None:
    """Write the file if its text has changed, so that a card that only streams is not written to."""
    folder = root / start.FOLDER
    # unless it is mounted, the file would be on the root partition, which a PC does not show
    if root != Path("/") or os.path.ismount(folder):
        http = last_good.in_force(root).http
        addresses = _addresses(http)
        if start.is_card(root):
            _correct_login(root, http, addresses)
        current, disk = root / setup.CURRENT, os.statvfs(root)
        text = compose(
            settings(root), addresses, _camera(http.port),
            release=current.readlink().name if current.is_symlink() else __version__, blocked=_blocked(root),
            network=network_watch.report(root), free=disk.f_bfree * disk.f_frsize, setup=setup.progress(root),
        )  # fmt: skip
        files.replace(folder / NAME, text.replace("\n", "\r\n").encode("utf-8-sig"))


def settings(root: Path) -> list[str]:
    """Return lines on whether the card's settings are in use, and if not, why."""
    paths = pi_cam_toml.find(root / start.FOLDER)
    try:
        loading.load(etc=root / loading.ETC.relative_to("/"))
    except ConfigError as error:
        return [*error.problems, _LAST if last_good.exists(root) else _NONE]
    if not start.is_card(root):
        return ["in use as in /etc/pi-cam-daemon"]
    try:
        if not paths:
            return [f"{pi_cam_toml.NAME} is missing", _LAST]
        path, *others = paths
        found = start.read(path, root)
    except ConfigError as error:
        return [*error.problems, _LAST]
    except OSError as error:
        return [f"{error.filename}: {error.strerror}", _LAST]
    layer = root / start.LAYER
    # compare the values: another release may format them differently
    if not layer.exists() or parsing.parse(layer.read_text()) != parsing.parse(found.settings):
        lines = [f"{path.name} has changed since the start; switch the camera off and on to apply it"]
    else:
        lines = [f"in use as in {path.name}"]
    if found.has_password:
        lines.append(f"A password is still in {path.name}; remove it yourself")
    return [*lines, *(f"{other.name} is ignored because there is {path.name}; remove one of them" for other in others)]


def compose(
    settings: list[str], addresses: list[str], camera: str, release: str, blocked: str, network: str, free: int,
    setup: str,
) -> str:  # fmt: skip
    """Return the text of the file. *blocked*: why Wi-Fi is off; *free*: free bytes, those kept for root too."""
    rows = {
        "Page": addresses or ["no network yet"],
        "Camera": [camera],
        "Settings": settings,
        "Network": [network] if network else [],
        "Wi-Fi": [blocked] if blocked else [],
        "Card": ["full: nothing new can be stored, not even settings"] if free < _FULL_BYTES else [],
        "Setup": [setup] if setup else [],
        "Release": [release],
        "Name": [socket.gethostname()],
        "Board": [machine.model() or "unknown"],
    }
    lines = [f"{title if not at else '':<10}{row}" for title, found in rows.items() for at, row in enumerate(found)]
    return "\n".join(["pi-cam-daemon", "", *lines, ""])


def _blocked(root: Path) -> str:
    """Return why the radio is off and what helps, "" if it is not off."""
    if not wifi.blocked(root):
        return ""
    mend = "set country in pi-cam.toml" if start.is_card(root) else "sudo raspi-config nonint do_wifi_country KR"
    return f"switched off, because it does not know its country: {mend}"


def _addresses(http: HttpConfig) -> list[str]:
    found = [interface for interface in network.read() if not interface.address.is_loopback]
    return network.page_addresses(http.scheme, http.port, found) if found else []


def _correct_login(root: Path, http: HttpConfig, addresses: list[str]) -> None:
    """Show the name in *addresses* above the login if it is not the machine's own, which another machine may have."""
    names = [address.partition("://")[2].rpartition(":")[0] for address in addresses]
    own = f"{socket.gethostname().partition('.')[0]}.local"
    other = [name for name in names if name.endswith(".local") and name.lower() != own.lower()]
    # at the next boot the login shows the machine's own name until avahi has chosen
    if start.show_addresses(root, http, *other[:1]) and root == Path("/"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["agetty", "--reload"], capture_output=True, check=False, timeout=30)


def _camera(port: int) -> str:
    try:
        # plain HTTP: the daemon asks for TLS only from other machines
        return camera_line(json.loads(state("localhost", port, _ANSWER_SECONDS)))
    except (OSError, ValueError, HTTPException):
        return f"the service does not answer. {_last_log_line()}".strip()


def state(host: str, port: int, timeout: float) -> bytes:
    """Return the body of the daemon's /state. Raises OSError or HTTPException."""
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/state")
        return connection.getresponse().read()
    finally:
        connection.close()


def _last_log_line() -> str:
    """Return the last line that the service logged, which usually says why it ended."""
    argv = ["journalctl", "-q", "-o", "cat", "-n", "1", "_SYSTEMD_UNIT=pi-cam-daemon.service"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def camera_line(state: dict[str, Any]) -> str:
    """Return the camera's name and size, or why there is no picture. Numbers that change all the time are left out."""
    camera = state.get("camera")
    if state.get("ok") and camera:
        reason = state["source"]["reason"]
        return f"{camera['name']}, {camera['width']}x{camera['height']}" + (f" ({reason})" if reason else "")
    return ". ".join(filter(None, (state.get("detail", ""), state.get("hint", ""))))
