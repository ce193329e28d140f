"""The file of users, `http.users_file`: one user a line, as name:role:hash.

The hash is a PHC string, $scrypt$ln=14,r=8,p=1$salt$key. Empty lines and lines that begin with # are ignored.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import grp
import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pi_cam_daemon.errors import CredentialsError
from pi_cam_daemon.system import files

log = logging.getLogger(__name__)

USUAL_FILE = Path("/etc/pi-cam-daemon/users")
_LEAST_LENGTH = 8  # NIST SP 800-63B, 5.1.1.2
NAMES_ACCEPTED = "up to 64 characters, no colon or control character, neither # nor a space at the start"
PASSWORDS_ACCEPTED = f"{_LEAST_LENGTH} characters or more, no control character"
_COST = {"n": 1 << 14, "r": 8, "p": 1}  # 16 MiB, as much as a Zero can spare at a time; 74 ms on a PC
_PARAMETERS = "$scrypt$ln=14,r=8,p=1$"
_NAME = re.compile(r"[^\s:#](?:[^:]{0,62}[^\s:])?")
_LINE = re.compile(
    rf"(?P<name>[^:]+):(?P<role>[a-z]+):{re.escape(_PARAMETERS)}(?P<salt>[A-Za-z0-9+/]{{22}})\$(?P<key>[A-Za-z0-9+/]{{43}})"
)
_MOST_BYTES = 256 * 1024
_MOST_SHOWN = 10  # numbers of wrong lines


class Role(enum.StrEnum):
    """The role of a user: an admin may also change controls and settings."""

    VIEWER = "viewer"
    ADMIN = "admin"


@dataclass(frozen=True)
class User:
    """A user who may log in. Users are equal if name and password hash are, whatever their roles."""

    name: str
    role: Role = field(compare=False)
    salt: bytes = field(repr=False)
    key: bytes = field(repr=False)


def normal(text: str) -> str:
    """Return *text* in NFC, for comparison: keyboards differ in how they send accents (RFC 8265)."""
    return unicodedata.normalize("NFC", text)


def derive(password: str, salt: bytes) -> bytes:
    """Return the scrypt key of *password* with *salt*. Takes 16 MiB and some CPU time, without holding the GIL."""
    return hashlib.scrypt(normal(password).encode(), salt=salt, dklen=32, **_COST)


def read(path: Path) -> dict[str, User]:
    """Return the users in the file at *path*, by name. Raises CredentialsError with every problem in it."""
    try:
        mode = path.stat().st_mode
        text = files.read(path, _MOST_BYTES, "file of users").decode()
    except FileNotFoundError:
        raise _error(path, "there is no such file; create it with pi-cam-daemon add-user") from None
    except OSError as error:
        raise _error(path, files.explain(error, path)) from None
    except ValueError as error:
        raise _error(path, str(error)) from None
    if mode & 0o007:
        log.warning("%s can be read by everybody on this machine; chmod 640 %s", path, path)
    users: dict[str, User] = {}
    problems, wrong = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user = _user(line)
        if user is None:
            wrong.append(number)
        elif user.name in users:
            problems.append(f"line {number}: the user {user.name} is listed twice")
        else:
            users[user.name] = user
    if wrong:
        problems.append(_not_users(wrong, bool(users)))
    if problems:
        raise _error(path, *problems)
    if not users:
        log.warning("%s has no users, so nobody can log in", path)
    return users


def _not_users(numbers: list[int], others: bool) -> str:
    """Return that the lines with *numbers* are no users; *others* are. A line may be a password, and is not shown."""
    advice = "write it with pi-cam-daemon add-user"
    if len(numbers) == 1:
        return f"line {numbers[0]} is not a user; {advice}"
    if not others:
        return f"this is no file of users: not one of its {len(numbers)} lines is a user; {advice}"
    shown = ", ".join(map(str, numbers[:_MOST_SHOWN])) + (" …" if len(numbers) > _MOST_SHOWN else "")
    return f"lines {shown} are not users; write them with pi-cam-daemon add-user"


def _user(line: str) -> User | None:
    found = _LINE.fullmatch(line.strip())
    if not found or not is_name(found["name"]) or found["role"] not in list(Role):
        return None
    salt, key = base64.b64decode(found["salt"] + "=="), base64.b64decode(found["key"] + "=")
    return User(normal(found["name"]), Role(found["role"]), salt, key)


def _error(path: Path, *problems: str) -> CredentialsError:
    return CredentialsError([f"http.users_file: {path}: {problem}" for problem in problems])


def is_name(name: str) -> bool:
    """Return whether *name* can be a user name: HTTP Basic authentication ends it at a colon."""
    return name.isprintable() and _NAME.fullmatch(name) is not None


def is_password(password: str) -> bool:
    """Return whether *password* is long enough and has no control characters."""
    return len(password) >= _LEAST_LENGTH and password.isprintable()


def add(path: Path, name: str, role: Role, password: str) -> None:
    """Add the user *name*, or replace role and password. Raises CredentialsError if a line of the file is wrong."""
    others = []
    if path.exists():
        read(path)
        others = _lines_without(path, name)
    write(path, [*others, entry(name, role, password)])


def entry(name: str, role: Role, password: str) -> str:
    """Return the line of a user."""
    salt = os.urandom(16)
    salted = base64.b64encode(salt).decode().rstrip("=")
    key = base64.b64encode(derive(password, salt)).decode().rstrip("=")
    return f"{normal(name)}:{role}:{_PARAMETERS}{salted}${key}"


def is_entry(line: str) -> bool:
    return _user(line) is not None


def remove(path: Path, name: str) -> None:
    """Remove the user *name*. Raises OSError."""
    write(path, _lines_without(path, name))


def _lines_without(path: Path, name: str) -> list[str]:
    lines = path.read_text("utf-8").splitlines()
    return [line for line in lines if normal(line.strip().partition(":")[0]) != normal(name)]


def write(path: Path, lines: Iterable[str]) -> None:
    """Write the file, readable by its owner and by its present group, or else by the group of the service."""
    group = -1
    with contextlib.suppress(KeyError):
        group = path.stat().st_gid if path.exists() else grp.getgrnam(files.SERVICE).gr_gid if os.geteuid() == 0 else -1
    files.replace(path, "".join(f"{line}\n" for line in lines).encode(), 0o640, group)
