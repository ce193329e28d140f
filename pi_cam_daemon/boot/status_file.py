"""pi-cam-status.txt beside pi-cam.toml: what a person with the card in a PC has to know, and nothing secret."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from pi_cam_daemon.boot import pi_cam_toml, start, wifi
from pi_cam_daemon.config import loading
from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files, machine, network, setup

NAME = "pi-cam-status.txt"
_ANSWER_SECONDS = 10.0
_LAST = "The last settings that were right are in force."
# ext4 counts 4096 blocks as free that it gives nobody, not even root; the rest is some hundred times what a boot writes
_FULL_BYTES = 4096 * 4096 + 1_000_000


def write(root: Path) -> None:
    """Write it where it is another than before: a card that only streams is not written to."""
    folder = root / start.FOLDER
    # without the partition it would lie below, where nobody finds it
    if root != Path("/") or os.path.ismount(folder):
        http = loading.in_force(root).http
        text = compose(
            settings(root),
            _addresses(http),
            _camera(http.port),
            release(root),
            wifi.blocked(root),
            _free(root),
            setup.progress(root),
        )
        files.replace(folder / NAME, text.replace("\n", "\r\n").encode("utf-8-sig"))


def settings(root: Path) -> list[str]:
    """Whether those of the card are in force, and why not."""
    paths = pi_cam_toml.find(root / start.FOLDER)
    try:
        loading.load(etc=root / loading.ETC.relative_to("/"))
        if not paths:
            return [f"{pi_cam_toml.NAME} is missing", _LAST]
        path, *others = paths
        found = start.read(path, root)
    except ConfigError as error:
        return [*error.problems, _LAST]
    except OSError as error:
        return [f"{error.filename}: {error.strerror}", _LAST]
    layer = root / start.LAYER
    # as values: another release may write them in another way
    if not layer.exists() or loading.parsed(layer.read_text()) != loading.parsed(found.settings):
        told = [f"{path.name} has changed since the start; switch off and on to put it in force"]
    else:
        told = [f"in force as in {path.name}"]
    if found.has_password:
        told.append(f"A password is still in {path.name}: take it out yourself")
    return [*told, *(f"{other.name} does not count beside {path.name}: remove one of them" for other in others)]


def release(root: Path) -> str:
    current = root / setup.CURRENT
    return current.readlink().name if current.is_symlink() else "none"


def compose(
    settings: list[str], addresses: list[str], camera: str, release: str, blocked: bool, free: int, setup: str
) -> str:
    """*free*: bytes on the card."""
    rows = {
        "Page": addresses or ["no network yet"],
        "Camera": [camera],
        "Settings": settings,
        "Wi-Fi": ["switched off, because it does not know its country: set country in pi-cam.toml"] if blocked else [],
        "Card": ["full: nothing new can be kept on it, settings neither"] if free < _FULL_BYTES else [],
        "Setup": [setup] if setup else [],
        "Release": [release],
        "Name": [socket.gethostname()],
        "Board": [machine.model() or "unknown"],
    }
    lines = [f"{title if not at else '':<10}{row}" for title, found in rows.items() for at, row in enumerate(found)]
    return "\n".join(["pi-cam-daemon", "", *lines, ""])


def _addresses(http: HttpConfig) -> list[str]:
    found = [interface for interface in network.read() if not interface.address.is_loopback]
    return network.page_addresses(http.scheme, http.port, found) if found else []


def _camera(port: int) -> str:
    try:
        # also where others have to come by TLS
        return camera_line(json.loads(state("localhost", port, _ANSWER_SECONDS)))
    except (OSError, ValueError, HTTPException):
        return f"the service does not answer. {_last_words()}".strip()


def state(host: str, port: int, timeout: float) -> bytes:
    """Ask the daemon for /state. Raises OSError or HTTPException."""
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/state")
        return connection.getresponse().read()
    finally:
        connection.close()


def _last_words() -> str:
    """What the service said last: why it has ended, mostly."""
    argv = ["journalctl", "-q", "-o", "cat", "-n", "1", "_SYSTEMD_UNIT=pi-cam-daemon.service"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _free(root: Path) -> int:
    """Also what is kept for root, who writes here."""
    disk = os.statvfs(root)
    return disk.f_bfree * disk.f_frsize


def camera_line(state: dict[str, Any]) -> str:
    """Which one it is, or why there is none; without what changes while it works."""
    camera = state.get("camera")
    if state.get("ok") and camera:
        reason = state["source"]["reason"]
        return f"{camera['name']}, {camera['width']}x{camera['height']}" + (f" ({reason})" if reason else "")
    return ". ".join(filter(None, (state.get("detail", ""), state.get("hint", ""))))
