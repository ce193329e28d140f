"""`[viewers]` and `[admins]` of pi-cam.toml: name = "password", or a hash, or "" to keep the password from before."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi_cam_daemon.config import users
from pi_cam_daemon.config.text import short, shown
from pi_cam_daemon.config.users import Role

# not users.USUAL_FILE: this file is replaced at each boot, and add-user's users must stay
FILE = Path("etc/pi-cam-daemon/pi-cam.users")
TABLES = {"viewers": Role.VIEWER, "admins": Role.ADMIN}
_HASH = "$scrypt$"


@dataclass(frozen=True)
class CardUser:
    """A user in pi-cam.toml. *secret* is a password, a hash, or empty to keep the one from before."""

    name: str
    role: Role
    secret: str = field(repr=False)


def is_password(secret: str) -> bool:
    """Return whether *secret* is a password in plain text, which is removed from the card and kept as a hash."""
    return secret != "" and not secret.startswith(_HASH)


def check(tables: dict[str, Any]) -> tuple[list[CardUser], list[str]]:
    """Return the users in *tables*, and what is wrong with them. No problem contains a secret."""
    found: list[CardUser] = []
    problems: list[str] = []
    for title, table in tables.items():
        if not isinstance(table, dict):
            problems.append(f"{title}: {shown(table)} cannot be used; accepted: a table, which begins with [{title}]")
            continue
        for name, secret in table.items():
            key, role = f"{title}.{short(name)}", TABLES[title]
            if not users.is_name(name):
                problems.append(f"{key}: cannot be a name; accepted: {users.NAMES_ACCEPTED}")
            elif not isinstance(secret, str):
                problems.append(f"{key}: accepted: a password in quotes")
            elif is_password(secret) and not users.is_password(secret):
                problems.append(f"{key}: cannot be a password; accepted: {users.PASSWORDS_ACCEPTED}")
            elif secret.startswith(_HASH) and not users.is_entry(f"{name}:{role}:{secret}"):
                problems.append(f"{key}: not a hash as pi-cam-daemon add-user writes it")
            elif users.normal(name) in (user.name for user in found):
                problems.append(f"{key}: is there twice")
            else:
                found.append(CardUser(users.normal(name), role, secret))
    return found, problems


def missing(given: list[CardUser], root: Path) -> list[str]:
    """Return a problem for each user who has no password, neither in pi-cam.toml nor from before."""
    before = _hashes(root)
    return [
        f"{short(user.name)}: has no password yet; write one between the quotes"
        for user in given
        if not user.secret and user.name not in before
    ]


def configure(given: list[CardUser], root: Path) -> None:
    """Write the file of users, so that these and nobody else can log in. `missing` must have found no problem."""
    before = _hashes(root)
    lines = [
        users.entry(user.name, user.role, user.secret)
        if is_password(user.secret)
        else f"{user.name}:{user.role}:{user.secret or before[user.name]}"
        for user in given
    ]
    users.write(root / FILE, lines)


def _hashes(root: Path) -> dict[str, str]:
    """Return the hash of each user in the file, by name."""
    path = root / FILE
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {users.normal(line.split(":")[0]): line.rpartition(":")[2] for line in lines if users.is_entry(line)}
