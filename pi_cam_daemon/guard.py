"""What the configuration only names and has to be read besides it: who may log in, and the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon.config import HttpConfig
from pi_cam_daemon.errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext

    from pi_cam_daemon.users import User


@dataclass(frozen=True)
class Guard:
    """*users* by name, None where nobody is asked for a password; *tls*, None where plain HTTP is spoken."""

    users: Mapping[str, User] | None
    tls: SSLContext | None


def read(http: HttpConfig) -> Guard:
    """What the files that *http* names hold now. Raises ConfigError."""
    return Guard(_users(http.users_file), _tls(http.tls_certificate, http.tls_key))


def _users(file: str) -> Mapping[str, User] | None:
    if not file:
        return None
    # loaded only where it is needed, here and below: most cameras have no users
    from pi_cam_daemon import users

    return users.read(Path(file))


def _tls(certificate: str, key: str) -> SSLContext | None:
    if not certificate and not key:
        return None
    if not (certificate and key):
        missing = "tls_key" if certificate else "tls_certificate"
        raise ConfigError([f"http.{missing}: is not set; tls_certificate and tls_key need each other"])
    from pi_cam_daemon import tls

    return tls.context(Path(certificate), Path(key))
