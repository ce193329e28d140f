"""Loading of the files that `[http]` and `[events]` name: users, certificate and key, and the secret of the webhook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon.config import secret
from pi_cam_daemon.config.schema import EventsConfig, HttpConfig
from pi_cam_daemon.errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext

    from pi_cam_daemon.core.webhook import Target
    from pi_cam_daemon.server.logins import Logins


def read(http: HttpConfig) -> tuple[Logins | None, SSLContext | None]:
    """Return the users and the TLS context, each None if the configuration names no file.

    Raises CredentialsError if a file cannot be used, and ConfigError if only one of certificate and key is named. The
    modules are imported only where they are needed, because most cameras have neither users nor a certificate.
    """
    logins = context = None
    if http.users_file:
        from pi_cam_daemon.config import users
        from pi_cam_daemon.server.access import own_networks
        from pi_cam_daemon.server.logins import Logins

        logins = Logins(users.read(Path(http.users_file)), own_networks().contains)
    if bool(http.tls_certificate) != bool(http.tls_key):
        missing = "tls_key" if http.tls_certificate else "tls_certificate"
        raise ConfigError([f"http.{missing} is not set; set both tls_certificate and tls_key, or neither"])
    if http.tls_certificate:
        from pi_cam_daemon.server import tls

        context = tls.context(Path(http.tls_certificate), Path(http.tls_key))
    return logins, context


def webhook(events: EventsConfig) -> Target | None:
    """Return the receiver of events; None if there is none. Raises CredentialsError if its secret cannot be read."""
    if not events.webhook_url:
        return None
    from pi_cam_daemon.core.webhook import Target

    path = events.webhook_secret_file
    return Target(events.webhook_url, secret.read("events.webhook_secret_file", Path(path)) if path else b"")
