"""pi-cam-status.txt beside pi-cam.toml: what a person with the card in a PC has to know, and nothing secret."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from pi_cam_daemon import board, boot, boot_config, files, first_boot, interfaces, layers, wifi
from pi_cam_daemon.errors import ConfigError

NAME = "pi-cam-status.txt"
_CURRENT = Path("opt/pi-cam-daemon/current")
_ANSWER_SECONDS = 10.0


def write(root: Path) -> None:
    """Write it where it is another than before: a card that only streams is not written to."""
    folder = root / boot.FOLDER
    # without the partition it would lie below, where nobody finds it
    if root != Path("/") or os.path.ismount(folder):
        text = compose(
            settings(root),
            _addresses(root),
            _camera(root),
            release(root),
            wifi.blocked(root),
            first_boot.progress(root),
        )
        files.replace(folder / NAME, text.replace("\n", "\r\n").encode("utf-8-sig"))


def settings(root: Path) -> list[str]:
    """What is wrong with the settings, empty if nothing is."""
    path = boot_config.find(root / boot.FOLDER)
    try:
        if path:
            boot_config.read(path)
        layers.load(etc=root / layers.ETC.relative_to("/"))
    except ConfigError as error:
        return error.problems
    except OSError as error:
        return [f"{error.filename}: {error.strerror}"]
    if path is None:
        return [f"{boot_config.NAME} is missing"]
    return []


def release(root: Path) -> str:
    current = root / _CURRENT
    return current.readlink().name if current.is_symlink() else "none"


def compose(problems: list[str], addresses: list[str], camera: str, release: str, blocked: bool, setup: str) -> str:
    wrong = [*problems, "The last settings that were right are in force." if problems else ""]
    rows = {
        "Page": addresses or ["no network yet"],
        "Camera": [camera],
        "Settings": [*filter(None, wrong)] or ["in force as in pi-cam.toml"],
        "Wi-Fi": ["switched off, because it does not know its country: set country in pi-cam.toml"] if blocked else [],
        "Setup": [setup] if setup else [],
        "Release": [release],
        "Name": [socket.gethostname()],
        "Board": [board.model() or "unknown"],
    }
    lines = [f"{title if not at else '':<10}{row}" for title, found in rows.items() for at, row in enumerate(found)]
    return "\n".join(["pi-cam-daemon", "", *lines, ""])


def _addresses(root: Path) -> list[str]:
    found = [interface for interface in interfaces.read() if not interface.address.is_loopback]
    return interfaces.page_addresses(_port(root), found) if found else []


def _port(root: Path) -> int:
    try:
        return layers.load(etc=root / layers.ETC.relative_to("/")).http.port
    except ConfigError:
        return layers.load(layers.DEFAULTS).http.port


def _camera(root: Path) -> str:
    connection = http.client.HTTPConnection("localhost", _port(root), timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/state")
        return camera_line(json.load(connection.getresponse()))
    except (OSError, ValueError, http.client.HTTPException):
        return "the service does not answer"
    finally:
        connection.close()


def camera_line(state: dict[str, Any]) -> str:
    """Which one it is, or why there is none; without what changes while it works."""
    camera = state.get("camera")
    if state.get("ok") and camera:
        reason = state["source"]["reason"]
        return f"{camera['name']}, {camera['width']}x{camera['height']}" + (f" ({reason})" if reason else "")
    return ". ".join(filter(None, (state.get("detail", ""), state.get("hint", ""))))
