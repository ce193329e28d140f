"""Filters of the role: checks of its variables that Ansible's validation lacks, and the settings as TOML."""

from __future__ import annotations

import copy
import difflib
import hashlib
import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_BUILD = "scripts/install --build-artefact ansible/pi-cam-daemon.tar.zst makes an artefact"
_NUMBERS = {"int": r"-?\d+", "float": r"-?\d+(\.\d+)?"}
_WORDS = ("true", "false", "yes", "no")
# the role's default; the variables of other hosts do not contain it
_PORT = 8000
_NOTE = (
    "# Written by Ansible, which replaces it at the next run. "
    "By hand: a file in /etc/pi-cam-daemon/conf.d, read after this."
)


def plain(value: Any) -> Any:
    """Return *value* in Python's own types. Before ansible-core 2.19 values from Vault have types of their own."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Sequence) else value


def problems(given: dict[str, Any], options: dict[str, Any], groups: Iterable[str]) -> list[str]:
    """Return all that is wrong in the role's variables, which are *given* by name: one sentence for each problem.

    *options* is the role's argument specification, and *groups* are the groups of the inventory. Ansible itself accepts
    unknown variables, text with commas as a list, and "640" as a number, and does not convert them.
    """
    found = []
    given = plain(given)
    wrong = set()
    for name, value in given.items():
        if name not in options:
            found.append(_unknown(name, name, options))
        elif own := _wrong_types(name, value, options[name], top=True):
            found += own
            wrong.add(name)
    # what has a type of its own is looked at more closely, also where another variable is wrong
    given = {name: value for name, value in given.items() if name not in wrong}
    if given.get("pi_cam_daemon_allowed_networks") == []:
        found.append(
            'pi_cam_daemon_allowed_networks: empty, so nobody could look; write ["127.0.0.1"] for the host alone'
        )
    for name in ("pi_cam_daemon_allowed_networks", "pi_cam_daemon_allowed_networks_extra"):
        found += [f"{name}: {entry!r} is neither an address nor a network" for entry in _no_networks(given, name)]
    if given.get("pi_cam_daemon_wall") and given["pi_cam_daemon_wall"] not in groups:
        found.append(_unknown("pi_cam_daemon_wall: group", given["pi_cam_daemon_wall"], groups))
    found += _cameras(given)
    found += _files(given, wrong)
    artefact = given.get("pi_cam_daemon_artefact")
    if artefact is not None and not Path(artefact).is_file():
        found.append(f"pi_cam_daemon_artefact: {artefact}: no such file on the controller; {_BUILD}")
    return found


def _unknown(place: str, name: str, known: Iterable[str]) -> str:
    guesses = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {guesses[0]}?" if guesses else f"there are: {', '.join(known)}"
    return f"{place}: unknown; {hint}"


def _no_networks(given: dict[str, Any], name: str) -> list[str]:
    """Return the entries that are no networks. The daemon checks more; this is enough to compare addresses."""
    wrong = []
    for entry in given.get(name, []):
        try:
            _ = entry == "local" or ipaddress.ip_interface(entry)
        except ValueError:
            wrong.append(entry)
    return wrong


def _wrong_types(name: str, value: Any, option: dict[str, Any], top: bool = False) -> list[str]:
    """Return what is wrong in the type of *value*, and that of all in it, and whether it is one of the choices.

    What is at the *top* is the role's own, and is converted: INI inventories and --extra-vars give text.
    """
    kind = option.get("type", "str")
    if value is None:
        return [f"{name}: no value; remove it to use the default"]
    if kind == "list":
        return _wrong_entries(name, value, option)
    if kind == "dict":
        return _wrong_keys(name, value, option)
    if kind in _NUMBERS and not (top and isinstance(value, str) and re.fullmatch(_NUMBERS[kind], value)):
        if isinstance(value, str):
            return [f"{name}: {value!r} is text; write the number without quotes"]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return [f"{name}: {value} is not a number"]
        if kind == "int" and value != int(value):
            return [f"{name}: {value} is not a whole number"]
    if kind == "bool" and not isinstance(value, bool) and not (top and str(value).lower() in _WORDS):
        return [f"{name}: {value!r} is neither true nor false"]
    accepted = [str(choice) for choice in option.get("choices", [])]
    # as Ansible does: a truth value is one of the words
    word = str(value).lower() if "true" in accepted and isinstance(value, bool) else str(value)
    if kind in ("str", "path") and not isinstance(value, str) and word not in accepted:
        return [f"{name}: not text; write it in quotes"]
    if accepted and word not in accepted:
        return [f"{name}: {value!r} cannot be used; accepted: {', '.join(accepted)}"]
    return []


def _wrong_entries(name: str, value: Any, option: dict[str, Any]) -> list[str]:
    if isinstance(value, str):
        items = ", ".join(f'"{item.strip()}"' for item in value.split(","))
        return [f"{name}: text where a list is needed; write [{items}]"]
    if not isinstance(value, list):
        return [f"{name}: not a list"]
    element = {"type": option.get("elements", "str"), "options": option.get("options")}
    entries = [(f"{name}[{number}]", entry) for number, entry in enumerate(value)]
    return [problem for place, entry in entries for problem in _wrong_types(place, entry, element)]


def _wrong_keys(name: str, value: Any, option: dict[str, Any]) -> list[str]:
    if not isinstance(value, dict):
        return [f"{name}: not a dictionary of keys and values"]
    known = option.get("options")
    if not known:
        return []
    wrong = [_unknown(f"{name}.{key}", key, known) for key in value if key not in known]
    wrong += [f"{name}: no {key}" for key, entry in known.items() if entry.get("required") and key not in value]
    return wrong + [
        problem
        for key, entry in value.items()
        if key in known
        for problem in _wrong_types(f"{name}.{key}", entry, known[key], top=name.endswith("]"))
    ]


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


def _files(given: dict[str, Any], wrong: Collection[str]) -> list[str]:
    """Return what is wrong with the files. Of a pair of which one is *wrong* nothing is told."""
    found = []
    names = ["users"] if given.get("pi_cam_daemon_users") else []
    names += ["mqtt-password"] if given.get("pi_cam_daemon_mqtt_password") else []
    pair = ("pi_cam_daemon_tls_certificate", "pi_cam_daemon_tls_key")
    missing = [name for name in pair if not given.get(name)]
    if len(missing) == 1 and missing[0] not in wrong:
        found.append(f"{missing[0]} is not set; set both {' and '.join(pair)}, or neither")
    if not missing:
        names += ["camera.pem", "camera.key"]
    for file in given.get("pi_cam_daemon_files", []):
        name = file["name"]
        if name in names:
            found.append(f"pi_cam_daemon_files: {name} is there twice")
        names.append(name)
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name == "config.toml":
            found.append(
                f"pi_cam_daemon_files: {name!r} cannot be a name; accepted: the name of a file, without a folder"
            )
        if ("src" in file) == ("content" in file):
            found.append(f"pi_cam_daemon_files: {name}: needs either src or content")
    return found


def sha256(path: str) -> str:
    """Return the sha256 of the file at *path*, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def addresses(hosts: Iterable[str], hostvars: Mapping[str, Any]) -> list[str]:
    """Return the URLs of the cameras of *hosts*, from their variables."""
    found = []
    for host in hosts:
        own = hostvars[host]
        address = str(own.get("ansible_host", host))
        address = f"[{address}]" if ":" in address else address
        scheme = "https" if own.get("pi_cam_daemon_tls_key") else "http"
        ports = [own.get("pi_cam_daemon_port", _PORT), *(more["port"] for more in own.get("pi_cam_daemon_cameras", []))]
        found += [f"{scheme}://{address}:{port}" for port in ports]
    return found


def with_wall(settings: dict[str, dict[str, Any]], cameras: list[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of one of *cameras*, URLs, whose pages show all of them and may read each other's state."""
    if not cameras:
        return settings
    filled = copy.deepcopy(plain(settings))
    filled["wall"] = {"cameras": cameras, **filled.get("wall", {})}
    origins = filled["http"].setdefault("cors_origins", [])
    origins += [camera for camera in cameras if camera not in origins]
    return filled


def configurations(settings: dict[str, Any], cameras: list[dict[str, Any]]) -> dict[str, str]:
    """Return the configuration files by their names in /etc/pi-cam-daemon.

    A further camera has the settings of the host, changed by its own.
    """
    files = {"config.toml": toml(plain(settings))}
    for camera in plain(cameras):
        table = copy.deepcopy(plain(settings))
        table["http"]["port"] = int(camera["port"])
        if "source" in camera:
            table["source"]["kind"] = camera["source"]
        if "rotation" in camera:
            table["video"]["rotation"] = int(camera["rotation"])
        for section, own in camera.get("config", {}).items():
            table.setdefault(section, {}).update(own)
        files[f"cameras/{camera['name']}.toml"] = toml(table)
    return files


def new(files: dict[str, str], there: dict[str, str]) -> list[str]:
    """Return the names of those *files* whose SHA-256 is not in *there* under the same name."""
    return [name for name, text in files.items() if there.get(name) != hashlib.sha256(text.encode()).hexdigest()]


def toml(settings: dict[str, dict[str, Any]]) -> str:
    """Return *settings* as a TOML file."""
    lines = [_NOTE]
    for section, table in sorted(settings.items()):
        lines += ["", f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in sorted(table.items()))]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(key)} = {_toml(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    # numbers, booleans and text are as in JSON, except for one character, which only TOML escapes
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class FilterModule:
    """The filters, as Ansible looks for them."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "problems": problems,
            "sha256": sha256,
            "addresses": addresses,
            "with_wall": with_wall,
            "configurations": configurations,
            "new": new,
        }
