"""What the configuration only names and has to be read besides it: who may log in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon.config import HttpConfig

if TYPE_CHECKING:
    from pi_cam_daemon.users import User


@dataclass(frozen=True)
class Guard:
    """*users* by name, None where nobody is asked for a password."""

    users: Mapping[str, User] | None


def read(http: HttpConfig) -> Guard:
    """What the files that *http* names hold now. Raises ConfigError."""
    return Guard(_users(http.users_file))


def _users(file: str) -> Mapping[str, User] | None:
    if not file:
        return None
    # loaded only where it is needed, here and below: most cameras have no users
    from pi_cam_daemon import users

    return users.read(Path(file))
