"""TLS: context, handshake, and a socket that behaves like a plain one. Imported only if there is a certificate."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon.errors import CredentialsError
from pi_cam_daemon.server.request import set_deadline
from pi_cam_daemon.system import files

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

# For TLS 1.2: only ephemeral keys and authenticated encryption. Those of TLS 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class TlsSocket(ssl.SSLSocket):
    """Behaves like a plain socket where SSLSocket does not."""

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send as much of *data* as possible; OpenSSL takes 16 KiB at a time. Raises BlockingIOError for none."""
        view = memoryview(data)
        sent = 0
        try:
            while sent < len(view):
                sent += super().send(view[sent:], flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not sent:
                raise BlockingIOError from None
        return sent

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send all of *data* within one timeout. SSLSocket would start it again for each record of 16 KiB."""
        timeout = self.gettimeout()
        deadline = None if timeout is None else time.monotonic() + timeout
        view = memoryview(data)
        try:
            while view:
                if deadline is not None:
                    set_deadline(self, deadline)
                view = view[super().send(view, flags) :]
        finally:
            self.settimeout(timeout)

    def shutdown(self, how: int) -> None:
        """Also send TLS's close_notify, without waiting for the answer."""
        self.settimeout(0)
        with contextlib.suppress(OSError, ValueError):
            self.unwrap()
        super().shutdown(how)


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the TLS context for *certificate*, a chain in PEM form, and its *key*. Raises CredentialsError."""
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise CredentialsError([f"http.{name}: {path}: {files.explain(error, path)}"]) from None
    if key.stat().st_mode & 0o007:
        log.warning("%s can be read by everybody on this machine; chmod o= %s", key, key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(_CIPHERS)
    # The client chooses the cipher that is fast on its processor. It must not renegotiate, which costs the server.
    made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    made.options |= ssl.OP_NO_RENEGOTIATION
    made.sslsocket_class = TlsSocket
    try:
        # without a password here OpenSSL would ask for it at the terminal
        made.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # an SSLError is an OSError; another one: a renewal has just removed a file
        raise CredentialsError([f"http.tls_certificate, http.tls_key: {_reason(certificate, key, error)}"]) from None
    return made


def _reason(certificate: Path, key: Path, error: Exception) -> str:
    reason = getattr(error, "reason", "") or ""
    # OpenSSL's reasons for another key of the same type, and of another type
    if reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return f"{key} is not the key of {certificate}"
    if "ENCRYPTED" in files.text(key):
        return f"{key} is protected by a password; accepted: a key without one (openssl pkey -in {key})"
    return f"{certificate} and {key} are not a certificate and its key in PEM form ({reason or error})"


def shake_hands(connection: socket.socket, made: ssl.SSLContext, deadline: float) -> TlsSocket:
    """Take over *connection*, and finish the handshake before *deadline* (monotonic). Raises OSError."""
    secured = made.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    assert isinstance(secured, TlsSocket)
    try:
        set_deadline(secured, deadline)
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured
