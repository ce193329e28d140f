"""Filters of the role: what Ansible's own validation lets pass, and the settings of further cameras."""

from __future__ import annotations

import copy
import difflib
import re
from pathlib import Path
from typing import Any

_BUILD = "scripts/install --build-artefact ansible/pi-cam-daemon.tar.zst makes an artefact"
_NUMBERS = {"int": r"-?\d+", "float": r"-?\d+(\.\d+)?"}


def problems(given: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """What is wrong in the role's variables, *given* by name, a sentence each.

    *options* is the role's argument specification. Ansible takes an unknown variable for somebody else's, text with
    commas for a list, and "640" for a number, and hands all of them on as they are.
    """
    found = []
    for name, value in given.items():
        if name not in options:
            found.append(_unknown(name, name, options))
        else:
            found += _wrong_types(name, value, options[name], top=True)
    if given.get("pi_cam_daemon_allowed_networks") == []:
        found.append('pi_cam_daemon_allowed_networks: empty, so nobody could look; for the host alone, ["127.0.0.1"]')
    if not found:
        found += _cameras(given)
        found += _files(given)
        for name in ("pi_cam_daemon_artefact", "pi_cam_daemon_installer"):
            if name in given and not Path(given[name]).is_file():
                found.append(f"{name}: {given[name]}: no such file on the controller; {_BUILD}")
    return found


def _unknown(place: str, name: str, known: dict[str, Any]) -> str:
    guesses = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {guesses[0]}?" if guesses else f"there are: {', '.join(known)}"
    return f"{place}: unknown; {hint}"


def _wrong_types(name: str, value: Any, option: dict[str, Any], top: bool = False) -> list[str]:
    kind = option.get("type", "str")
    if kind == "list":
        if isinstance(value, str):
            items = ", ".join(f'"{item.strip()}"' for item in value.split(","))
            return [f"{name}: text where a list is wanted; write [{items}]"]
        entries = [(f"{name}[{number}]", entry) for number, entry in enumerate(value)]
        element = {"type": option.get("elements", "str"), "options": option.get("options")}
        return [problem for place, entry in entries for problem in _wrong_types(place, entry, element)]
    if kind == "dict" and option.get("options") and isinstance(value, dict):
        known = option["options"]
        unknown = [_unknown(f"{name}.{key}", key, known) for key in value if key not in known]
        return unknown + [
            problem
            for key, entry in value.items()
            if key in known
            for problem in _wrong_types(f"{name}.{key}", entry, known[key], top=name.endswith("]"))
        ]
    if kind in _NUMBERS and isinstance(value, str):
        # the role's own numbers come as text from INI inventories and --extra-vars, and are converted
        if top and re.fullmatch(_NUMBERS[kind], value):
            return []
        return [f"{name}: {value!r} is text; write the number without quotes"]
    if kind in _NUMBERS and isinstance(value, bool):
        return [f"{name}: {value} is no number"]
    if kind == "bool" and not isinstance(value, bool) and not (top and str(value).lower() in _WORDS):
        return [f"{name}: {value!r} is neither true nor false"]
    if kind == "str" and not isinstance(value, str):
        return [f"{name}: no text; write it in quotes"]
    return []


_WORDS = ("true", "false", "yes", "no")


def _cameras(given: dict[str, Any]) -> list[str]:
    cameras = given.get("pi_cam_daemon_cameras", [])
    found = []
    ports = [int(given["pi_cam_daemon_port"])] if "pi_cam_daemon_port" in given else []
    names: list[str] = []
    for camera in cameras:
        name = camera["name"]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            found.append(f"pi_cam_daemon_cameras: {name!r} cannot be a name; accepted: letters, digits, - and _")
        if name in names:
            found.append(f"pi_cam_daemon_cameras: {name} is there twice")
        if int(camera["port"]) in ports:
            found.append(f"pi_cam_daemon_cameras: {name}: port {camera['port']} belongs to another camera of this host")
        names.append(name)
        ports.append(int(camera["port"]))
    return found


def _files(given: dict[str, Any]) -> list[str]:
    found = []
    for file in given.get("pi_cam_daemon_files", []):
        name = file["name"]
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name == "config.toml":
            found.append(f"pi_cam_daemon_files: {name!r} cannot be a name; accepted: a file's, without a folder")
        if ("src" in file) == ("content" in file):
            found.append(f"pi_cam_daemon_files: {name}: either src or content has to be given")
    return found


def camera(camera: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """A further camera's file name in /etc/pi-cam-daemon and its settings: the *host*'s but for its own."""
    settings = copy.deepcopy(host)
    settings["http"]["port"] = int(camera["port"])
    if "source" in camera:
        settings["source"]["kind"] = camera["source"]
    if "rotation" in camera:
        settings["video"]["rotation"] = int(camera["rotation"])
    for section, table in camera.get("config", {}).items():
        settings.setdefault(section, {}).update(table)
    return {"name": f"cameras/{camera['name']}.toml", "settings": settings}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"pi_cam_daemon_problems": problems, "pi_cam_daemon_camera": camera}
