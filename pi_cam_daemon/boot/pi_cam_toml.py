"""pi-cam.toml on the boot partition: a configuration file with `[wifi]`, `[viewers]` and `[admins]` besides.

Its values are checked as strictly as those of the other files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_cam_daemon.boot import given_users, wifi
from pi_cam_daemon.config import loading, parsing
from pi_cam_daemon.config.text import toml
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files

NAME = "pi-cam.toml"
# Windows hides the .txt that its editor may add. A file with it is the one that was edited last.
_NAMES = (f"{NAME}.txt", NAME)
_MOST_BYTES = 64 * 1024
_HEADER = re.compile(r"\s*\[\s*(\w+)\s*\]")
_PASSWORD_KEY = re.compile(r"\s*(wifi\.)?password\s*[=＝]")
# group 1: a key and its equals sign; group 2: its text in any quotes; no match for a hash
_TEXT = re.compile(r"""^(\s*[^#\s].*?[=＝]\s*)(?!.\$scrypt\$)("(?:[^"\\]|\\.)*"|'[^']*'|[“”„‘’＂].*?[“”„‘’＂])""")


@dataclass(frozen=True)
class BootConfig:
    """The content of pi-cam.toml at *path*. *settings* is the layer of the configuration, as TOML."""

    path: Path
    settings: str
    wifi: wifi.Wifi
    users: list[given_users.CardUser]

    @property
    def has_password(self) -> bool:
        return bool(self.wifi.password) or any(given_users.is_password(user.secret) for user in self.users)


def find(folder: Path) -> list[Path]:
    """Return the files in *folder*: first the one that is used, then those that are ignored."""
    return [folder / name for name in _NAMES if (folder / name).is_file()]


def read(path: Path) -> BootConfig:
    """Return what the file at *path* says. Raises ConfigError with everything that is wrong."""
    try:
        tables = parsing.parse(parsing.decode(files.read(path, _MOST_BYTES, "configuration"))[2])
    except ValueError as error:
        raise ConfigError([f"{path.name}: {error}"]) from None
    network, wrong = wifi.check(tables.pop("wifi", {}))
    users, more = given_users.check({title: tables.pop(title) for title in given_users.TABLES if title in tables})
    http = tables.setdefault("http", {}) if users else {}
    if "users_file" in http:
        more.append("http.users_file: cannot be set together with [viewers] or [admins]; remove one of them")
    elif users and isinstance(http, dict):
        http["users_file"] = f"/{given_users.FILE}"
    problems = [*loading.problems(tables, ("wifi", *given_users.TABLES)), *wrong, *more]
    if problems:
        raise ConfigError([f"{path.name}: {problem}" for problem in problems])
    return BootConfig(path, _render(tables), network, users)


def blank_passwords(path: Path) -> None:
    """Remove the passwords, and nothing else, from a valid file. Raises ConfigError if that is not possible."""
    mark, encoding, text = parsing.decode(files.read(path))
    blanked = _blanked(text)
    try:
        correct = parsing.parse(blanked) == _without_passwords(parsing.parse(text))
    except ValueError:
        correct = False
    if not correct:
        raise ConfigError([f"{path.name}: the passwords could not be removed from the file; remove them yourself"])
    files.replace(path, mark + blanked.encode(encoding))


def _blanked(text: str) -> str:
    lines, table = [], ""
    for line in text.splitlines(keepends=True):
        if header := _HEADER.match(line):
            table = header[1]
        secret = table in given_users.TABLES or _PASSWORD_KEY.match(line)
        lines.append(_TEXT.sub(r'\1""', line) if secret else line)
    return "".join(lines)


def _without_passwords(tables: dict[str, Any]) -> dict[str, Any]:
    """Blank the passwords in *tables*, and return it."""
    if "password" in tables.get("wifi", {}):
        tables["wifi"]["password"] = ""
    for title in tables.keys() & given_users.TABLES.keys():
        for name, secret in tables[title].items():
            if given_users.is_password(secret):
                tables[title][name] = ""
    return tables


def _render(tables: dict[str, Any]) -> str:
    lines = [f"# Written at boot from {NAME} on the boot partition. Change that file, not this one."]
    for section, table in tables.items():
        lines += ["", f"[{section}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
