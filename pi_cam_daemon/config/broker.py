"""The login at the MQTT broker: the settings of `[mqtt]`, with the files that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon.config import secret
from pi_cam_daemon.config.schema import MqttConfig
from pi_cam_daemon.errors import ConfigError, CredentialsError
from pi_cam_daemon.system import files

if TYPE_CHECKING:
    from ssl import SSLContext

_MOST_BYTES = 1 << 20  # of certificates
_NO_PEM = "this is no certificate in PEM"


@dataclass(frozen=True)
class Login:
    """The broker, and name and password for it. *tls* is None for a connection in the clear."""

    host: str
    port: int
    client_id: str
    topic: str
    user: str
    password: str | None = field(repr=False)
    tls: SSLContext | None = field(compare=False)
    authority: bytes  # what *tls* was made of, if that is not the machine's


def read(mqtt: MqttConfig) -> Login | None:
    """Return the login; None without a broker. Raises ConfigError, and CredentialsError if a file cannot be used."""
    if not mqtt.host:
        return None
    if mqtt.password_file and not mqtt.user:
        raise ConfigError(["mqtt.user is not set; a password needs one"])
    if mqtt.tls_ca and not mqtt.tls:
        raise ConfigError(["mqtt.tls_ca needs mqtt.tls = true"])
    password = _password(Path(mqtt.password_file)) if mqtt.password_file else None
    context, authority = _context(mqtt.tls_ca) if mqtt.tls else (None, b"")
    return Login(mqtt.host, mqtt.port, mqtt.client_id, mqtt.topic, mqtt.user, password, context, authority)


def _password(path: Path) -> str:
    """Return the password in the file at *path*: its one line. It is in no error."""
    try:
        password = secret.read("mqtt.password_file", path).decode()
    except UnicodeDecodeError:
        password = ""
    if not password.isprintable() or not password:
        raise _error("password_file", path, "it has to have one line in UTF-8, the password, and nothing else")
    return password


def _context(authority: str) -> tuple[SSLContext, bytes]:
    import ssl  # few need it

    if not authority:
        return ssl.create_default_context(), b""
    path = Path(authority)
    try:
        pem = files.read(path, _MOST_BYTES, "certificate")
        if not pem.strip():  # with an empty text ssl would trust what the machine trusts
            raise ValueError(_NO_PEM)
        return ssl.create_default_context(cadata=pem.decode()), pem
    except ssl.SSLError:
        raise _error("tls_ca", path, _NO_PEM) from None
    except OSError as error:
        raise _error("tls_ca", path, files.explain(error, path)) from None
    except ValueError as error:
        raise _error("tls_ca", path, _NO_PEM if isinstance(error, UnicodeDecodeError) else str(error)) from None


def _error(key: str, path: Path, problem: str) -> CredentialsError:
    return CredentialsError([f"mqtt.{key}: {path}: {problem}"])
