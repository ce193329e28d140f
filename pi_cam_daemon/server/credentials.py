"""Reads the files that the configuration names: the users who may log in, and the certificate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext

    from pi_cam_daemon.server.logins import Logins


def read(http: HttpConfig) -> tuple[Logins | None, SSLContext | None]:
    """Return what judges passwords, and what TLS needs: each None where the configuration does not ask for it.

    Raises ConfigError.
    """
    return _logins(http.users_file), _tls(http.tls_certificate, http.tls_key)


def _logins(file: str) -> Logins | None:
    if not file:
        return None
    # loaded only where it is needed, here and below: most cameras have no users
    from pi_cam_daemon.config import users
    from pi_cam_daemon.server import logins

    return logins.Logins(users.read(Path(file)))


def _tls(certificate: str, key: str) -> SSLContext | None:
    if not certificate and not key:
        return None
    if not (certificate and key):
        missing = "tls_key" if certificate else "tls_certificate"
        raise ConfigError([f"http.{missing}: is not set; tls_certificate and tls_key need each other"])
    from pi_cam_daemon.server import tls

    return tls.context(Path(certificate), Path(key))
