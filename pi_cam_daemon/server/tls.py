"""TLS for those who look: the certificate, the handshake, and a socket that the stream loop uses like any other.

Loaded only where there is a certificate.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

# For TLS 1.2; those of 1.3 are all sound. Keys that are forgotten, and authenticated encryption.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class TlsSocket(ssl.SSLSocket):
    """Behaves as a plain socket does where `ssl`'s would not."""

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """As much of *data* as goes at once; BlockingIOError if that is nothing. OpenSSL takes 16 KiB at a time."""
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
        """All of *data* within the timeout, which `ssl` grants anew for each record of 16 KiB."""
        timeout = self.gettimeout()
        deadline = None if timeout is None else time.monotonic() + timeout
        view = memoryview(data)
        try:
            while view:
                if deadline is not None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError("timed out")
                    self.settimeout(left)
                view = view[super().send(view, flags) :]
        finally:
            self.settimeout(timeout)

    def shutdown(self, how: int) -> None:
        """Also say by TLS that nothing more comes, without waiting for what the other says to that."""
        self.settimeout(0)
        with contextlib.suppress(OSError, ValueError):
            self.unwrap()
        super().shutdown(how)


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What handshakes need: *certificate* with those that lead to its root, and its *key*. Raises ConfigError."""
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise ConfigError([f"http.{name}: {path}: {error.strerror}"]) from None
    if key.stat().st_mode & 0o007:
        log.warning("%s can be read by everybody on this machine; chmod o= %s", key, key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(_CIPHERS)
    # the client knows what is quick on a phone; and nobody makes the server shake hands without end
    made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    made.options |= ssl.OP_NO_RENEGOTIATION
    made.sslsocket_class = TlsSocket
    try:
        # without an answer here OpenSSL would ask for the key's password at a terminal, and wait
        made.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError([f"http.tls_certificate, http.tls_key: {_reason(certificate, key, error)}"]) from None
    return made


def _reason(certificate: Path, key: Path, error: Exception) -> str:
    reason = getattr(error, "reason", "") or ""
    # what OpenSSL says of another key of the same kind, and of one of another kind
    if reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return f"{key} is not the key of {certificate}"
    if b"ENCRYPTED" in key.read_bytes():
        return f"{key} is protected by a password; accepted: a key without one (openssl pkey -in {key})"
    return f"{certificate} and {key} are not a certificate and its key in PEM form ({reason or error})"


def shake_hands(connection: socket.socket, made: ssl.SSLContext, deadline: float) -> TlsSocket:
    """Take *connection* over and agree on keys with the other side, before *deadline*. Raises OSError."""
    secured = made.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    assert isinstance(secured, TlsSocket)
    try:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        secured.settimeout(left)
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured
