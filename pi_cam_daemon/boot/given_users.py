"""`[viewers]` and `[admins]` of pi-cam.toml: name = "password", or its hash, or nothing for the one given before.

*root* is where the file system begins; tests give one of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi_cam_daemon.config import users
from pi_cam_daemon.config.text import short, shown
from pi_cam_daemon.config.users import Role

# of the card alone: whom add-user has let in at users.USUAL_FILE is not put out by a table
FILE = Path("/etc/pi-cam-daemon/pi-cam.users")
TABLES = {"viewers": Role.VIEWER, "admins": Role.ADMIN}
_HASH = "$scrypt$"


@dataclass(frozen=True)
class Given:
    """*secret*: a password, a hash, or empty for the one that was given before."""

    name: str
    role: Role
    secret: str = field(repr=False)

    @property
    def has_password(self) -> bool:
        return is_password(self.secret)


def is_password(secret: str) -> bool:
    """Whether *secret* is to be kept as a hash, and taken off the card."""
    return secret != "" and not secret.startswith(_HASH)


def take(tables: dict[str, Any]) -> dict[str, Any]:
    """Those of *tables* that are of users, taken out of them."""
    return {title: tables.pop(title) for title in TABLES if title in tables}


def check(tables: dict[str, Any]) -> tuple[list[Given], list[str]]:
    """The users in *tables*, and what is wrong with them. No secret is told."""
    found: list[Given] = []
    problems: list[str] = []
    for title, table in tables.items():
        if not isinstance(table, dict):
            problems.append(f"{title}: {shown(table)} cannot be used; accepted: a table, begun with [{title}]")
            continue
        for name, secret in table.items():
            key = f"{title}.{short(name)}"
            if not users.is_name(name):
                problems.append(f"{key}: cannot be a name; accepted: {users.NAMES_ACCEPTED}")
                continue
            if not isinstance(secret, str):
                problems.append(f"{key}: accepted: a password in quotes")
                continue
            given = Given(users.normal(name), TABLES[title], secret)
            if given.has_password and not users.is_password(secret):
                problems.append(f"{key}: cannot be a password; accepted: {users.PASSWORDS_ACCEPTED}")
            elif secret.startswith(_HASH) and not users.is_entry(f"{name}:{given.role}:{secret}"):
                problems.append(f"{key}: not a hash as pi-cam-daemon add-user writes it")
            elif given.name in (other.name for other in found):
                problems.append(f"{key}: is there twice")
            else:
                found.append(given)
    return found, problems


def missing(given: list[Given], root: Path) -> list[str]:
    """Who has no password, now or from before, as problems."""
    before = _before(root)
    return [
        f"{short(user.name)}: has no password yet; write one between the quotes"
        for user in given
        if not user.secret and user.name not in before
    ]


def configure(given: list[Given], root: Path) -> None:
    """Let them log in, and nobody else. None of them may be `missing`."""
    before = _before(root)
    lines = [
        users.entry(user.name, user.role, user.secret)
        if user.has_password
        else f"{user.name}:{user.role}:{user.secret or before[user.name]}"
        for user in given
    ]
    users.write(_path(root), lines)


def _before(root: Path) -> dict[str, str]:
    """The hashes of those who can log in, by name."""
    path = _path(root)
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {users.normal(line.split(":")[0]): line.rpartition(":")[2] for line in lines if users.is_entry(line)}


def _path(root: Path) -> Path:
    return root / FILE.relative_to("/")
