"""TLS: context, handshake, and a socket that behaves like a plain one. Imported only if there is a certificate."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi_cam_daemon.errors import CredentialsError
from pi_cam_daemon.server.request import set_deadline
from pi_cam_daemon.system import files

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

# For TLS 1.2: only ephemeral keys and authenticated encryption. Those of TLS 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_RECORD_BYTES = 16 * 1024


class TlsSocket(ssl.SSLSocket):
    """Behaves like a plain socket where SSLSocket does not."""

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send one record of *data*. A non-blocking socket sends all that is possible.

        OpenSSL does not report a part of a longer piece as sent, so a slow client would seem to take nothing. Raises
        BlockingIOError if nothing can be sent.
        """
        view = memoryview(data)
        if self.gettimeout() != 0:
            return super().send(view[:_RECORD_BYTES], flags)
        sent = 0
        try:
            while sent < len(view):
                sent += super().send(view[sent : sent + _RECORD_BYTES], flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not sent:
                raise BlockingIOError from None
        return sent

    def sendmsg(self, buffers: Iterable[ReadableBuffer], *_: Any) -> int:  # type: ignore[override]
        """Send some of two *buffers*, like `send`. The first bytes of the second one are in the packet of the first."""
        head, body = (memoryview(buffer) for buffer in buffers)
        room = max(0, _RECORD_BYTES - len(head))
        sent = self.send(b"".join((head, body[:room])))
        if sent == len(head) + room and self.gettimeout() == 0:
            with contextlib.suppress(BlockingIOError):
                sent += self.send(body[room:])
        return sent

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
