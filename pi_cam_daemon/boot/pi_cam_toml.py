"""pi-cam.toml on the card's boot partition, which any PC can write: read forgivingly, checked strictly.

It holds what a configuration file holds, and `[wifi]`, `[viewers]` and `[admins]`.
"""

from __future__ import annotations

import codecs
import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_cam_daemon.boot import given_users, wifi
from pi_cam_daemon.config import loading
from pi_cam_daemon.config.text import toml
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files

NAME = "pi-cam.toml"
# Windows hides the ending that its editor adds; whoever got a second file that way means that one
_NAMES = (f"{NAME}.txt", NAME)
# the layer of the configuration that it becomes, in conf.d
LAYER = "pi-cam.toml"
_MOST_BYTES = 64 * 1024
# what word processors and input methods make of quotes, blanks and equals signs
_TYPOGRAPHY = str.maketrans("“”„‟＂‘’‚‛＇\u00a0\u3000＝［］，", "\"\"\"\"\"'''''  =[],")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_HEADER = re.compile(r"\s*\[\s*(\w+)\s*\]")
_PASSWORD_KEY = re.compile(r"\s*(wifi\.)?password\s*[=＝]")
# a key and its text, in any quotes, as far as the next one; a hash is no password
_TEXT = re.compile(r"""^(\s*[^#\s].*?[=＝]\s*)(?!.\$scrypt\$)("(?:[^"\\]|\\.)*"|'[^']*'|[“”„‘’＂].*?[“”„‘’＂])""")


@dataclass(frozen=True)
class BootConfig:
    """*settings*: a layer of the configuration, as TOML."""

    path: Path
    settings: str
    wifi: wifi.Wifi
    users: list[given_users.Given]

    @property
    def has_password(self) -> bool:
        return bool(self.wifi.password) or any(user.has_password for user in self.users)


def find(folder: Path) -> list[Path]:
    """The file in *folder* that counts, before others that do not."""
    return [folder / name for name in _NAMES if (folder / name).is_file()]


def read(path: Path) -> BootConfig:
    """Raises ConfigError with everything that is wrong."""
    try:
        tables = _parse(_decode(files.read(path, _MOST_BYTES, "configuration"))[2])
    except ValueError as error:
        raise ConfigError([f"{path.name}: {error}"]) from None
    network, wrong = wifi.check(tables.pop("wifi", {}))
    users, strange = given_users.check(given_users.take(tables))
    http = tables.setdefault("http", {}) if users else {}
    if "users_file" in http:
        strange.append("http.users_file: stands against [viewers] and [admins]; accepted: the one or the others")
    elif users and isinstance(http, dict):
        http["users_file"] = str(given_users.FILE)
    problems = [*loading.problems(tables), *wrong, *strange]
    if problems:
        raise ConfigError([f"{path.name}: {problem}" for problem in problems])
    return BootConfig(path, _render(tables), network, users)


def blank_passwords(path: Path) -> None:
    """Take the passwords, and nothing else, out of a file that is right. ConfigError if that cannot be done."""
    mark, encoding, text = _decode(files.read(path))
    blanked = _blanked(text)
    try:
        alone = _parse(blanked) == _without_passwords(_parse(text))
    except ValueError:
        alone = False
    if not alone:
        raise ConfigError([f"{path.name}: the passwords could not be taken out of the file; remove them yourself"])
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
    tables = copy.deepcopy(tables)
    if "password" in tables.get("wifi", {}):
        tables["wifi"]["password"] = ""
    for title in tables.keys() & given_users.TABLES.keys():
        for name, secret in tables[title].items():
            if given_users.is_password(secret):
                tables[title][name] = ""
    return tables


def _decode(data: bytes) -> tuple[bytes, str, str]:
    """The byte-order mark, the encoding, and the text behind the mark; ValueError if it is none."""
    mark, encoding = next((known for known in _MARKS if data.startswith(known[0])), (b"", "utf-8"))
    try:
        return mark, encoding, data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: not UTF-8; save the file as UTF-8") from None


def _parse(text: str) -> dict[str, Any]:
    try:
        return loading.parsed(text)
    except ValueError as error:
        try:
            return loading.parsed("".join(map(_straightened, text.splitlines(keepends=True))))
        except ValueError:
            raise error from None


def _straightened(line: str) -> str:
    # only where it is not TOML as it is: a password may have such characters in it
    try:
        loading.parsed(line)
        return line
    except ValueError:
        return line.translate(_TYPOGRAPHY)


def _render(tables: dict[str, Any]) -> str:
    lines = [f"# {NAME} of the boot partition, as it was read at a boot; change it there"]
    for section, table in tables.items():
        lines += ["", f"[{section}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
