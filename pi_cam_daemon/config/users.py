"""The users of `http.users_file`: one to a line as name:role:hash, in which no password can be read.

The hash is scrypt's in the form of PHC strings, $scrypt$ln=14,r=8,p=1$salt$key. Empty lines and such as begin with a #
are nobody.
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

from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files

log = logging.getLogger(__name__)

USUAL_FILE = Path("/etc/pi-cam-daemon/users")
_LEAST_LENGTH = 8  # NIST SP 800-63B, 5.1.1.2
NAMES_ACCEPTED = (
    "up to 64 characters without a colon, none of them a control character, the first neither # nor a space"
)
PASSWORDS_ACCEPTED = f"{_LEAST_LENGTH} characters or more, none of them a control character"
# the group of the service, as sysusers.d makes it
_GROUP = "pi-cam-daemon"
# 16 MiB, which is what a Zero can spare for one at a time; 74 ms on a PC's core
_COST = {"n": 1 << 14, "r": 8, "p": 1}
_PARAMETERS = "$scrypt$ln=14,r=8,p=1$"
_SALT_BYTES = 16
_KEY_BYTES = 32
_NAME = re.compile(r"[^\s:#](?:[^:]{0,62}[^\s:])?")
_LINE = re.compile(
    rf"(?P<name>[^:]+):(?P<role>[a-z]+):{re.escape(_PARAMETERS)}(?P<salt>[A-Za-z0-9+/]{{22}})\$(?P<key>[A-Za-z0-9+/]{{43}})"
)
_MOST_BYTES = 256 * 1024


class Role(enum.StrEnum):
    """A viewer looks, an admin may also change."""

    VIEWER = "viewer"
    ADMIN = "admin"


@dataclass(frozen=True)
class User:
    """Somebody who may log in; another password makes another one, another role does not."""

    name: str
    role: Role = field(compare=False)
    salt: bytes = field(repr=False)
    key: bytes = field(repr=False)


def normal(text: str) -> str:
    """*text* as it is compared: one keyboard composes what another sends as letter and accent (RFC 8265)."""
    return unicodedata.normalize("NFC", text)


def derive(password: str, salt: bytes) -> bytes:
    """The key that *password* gives with *salt*. Takes a processor and 16 MiB for a while, without the interpreter."""
    return hashlib.scrypt(normal(password).encode(), salt=salt, dklen=_KEY_BYTES, **_COST)


def read(path: Path) -> dict[str, User]:
    """The users in the file at *path*, by name. Raises ConfigError with all that is wrong in it."""
    try:
        mode = path.stat().st_mode
        text = files.read(path, _MOST_BYTES, "file of users").decode()
    except FileNotFoundError:
        raise _error(path, "there is no such file; pi-cam-daemon add-user makes it") from None
    except PermissionError:
        hint = f"the service must be able to read it: chgrp {_GROUP} {path}; chmod 640 {path}"
        raise _error(path, f"permission denied; {hint}") from None
    except (OSError, ValueError) as error:
        raise _error(path, getattr(error, "strerror", None) or str(error)) from None
    if mode & 0o007:
        log.warning("%s can be read by everybody on this machine; chmod 640 %s", path, path)
    users: dict[str, User] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user = _user(line)
        if user is None:
            # the line itself is not told: it may hold a password that somebody wrote there as it is
            problems.append(f"http.users_file: {path}: line {number} is no user; pi-cam-daemon add-user writes them")
        elif user.name in users:
            problems.append(f"http.users_file: {path}: line {number}: {user.name} is there twice")
        else:
            users[user.name] = user
    if problems:
        raise ConfigError(problems)
    if not users:
        log.warning("%s names nobody, so nobody can look", path)
    return users


def _user(line: str) -> User | None:
    found = _LINE.fullmatch(line.strip())
    if not found or not is_name(found["name"]) or found["role"] not in list(Role):
        return None
    salt, key = base64.b64decode(found["salt"] + "=="), base64.b64decode(found["key"] + "=")
    return User(normal(found["name"]), Role(found["role"]), salt, key)


def _error(path: Path, what: str) -> ConfigError:
    return ConfigError([f"http.users_file: {path}: {what}"])


def is_name(name: str) -> bool:
    """Whether somebody can be called *name*: Basic ends it at a colon."""
    return name.isprintable() and _NAME.fullmatch(name) is not None


def is_password(password: str) -> bool:
    """Whether *password* is long enough, and can be typed."""
    return len(password) >= _LEAST_LENGTH and password.isprintable()


def add(path: Path, name: str, role: Role, password: str) -> None:
    """Let *name* log in with *password*, anew if he could before. Raises ConfigError where there are strange lines."""
    others = []
    if path.exists():
        read(path)
        others = _lines_without(path, name)
    write(path, [*others, entry(name, role, password)])


def entry(name: str, role: Role, password: str) -> str:
    """The line of somebody."""
    salt = os.urandom(_SALT_BYTES)
    salted = base64.b64encode(salt).decode().rstrip("=")
    key = base64.b64encode(derive(password, salt)).decode().rstrip("=")
    return f"{normal(name)}:{role}:{_PARAMETERS}{salted}${key}"


def is_entry(line: str) -> bool:
    return _user(line) is not None


def remove(path: Path, name: str) -> None:
    """Let *name* log in no more. Raises OSError."""
    write(path, _lines_without(path, name))


def _lines_without(path: Path, name: str) -> list[str]:
    return [
        line for line in path.read_text("utf-8").splitlines() if normal(line.strip().partition(":")[0]) != normal(name)
    ]


def write(path: Path, lines: Iterable[str]) -> None:
    """For its owner, and for the group that it has or that the service has."""
    group = -1
    with contextlib.suppress(KeyError):
        group = path.stat().st_gid if path.exists() else grp.getgrnam(_GROUP).gr_gid if os.geteuid() == 0 else -1
    files.replace(path, "".join(f"{line}\n" for line in lines).encode(), 0o640, group)
