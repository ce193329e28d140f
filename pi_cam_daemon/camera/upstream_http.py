"""HTTP client for the stream of another server: redirects, cookies, logins, certificates, and errors in plain words.

The password goes only to the server that the configuration names, and into no message.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http
import re
import socket
import ssl
import string
from collections.abc import Callable
from io import BufferedReader
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from pi_cam_daemon import __version__
from pi_cam_daemon.camera import upstream_login
from pi_cam_daemon.camera.http_response import HttpError, Response
from pi_cam_daemon.camera.jpeg_stream import START
from pi_cam_daemon.config.schema import UpstreamConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.system.redaction import without_secrets

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

# redirects, and one login; more of them are a loop
_MOST_REQUESTS = 8
_PICTURES = (200, 201, 202, 203, 206)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_COOKIES = 100
# how much of an answer is read to find a picture in it, or to describe it
_BEGIN_BYTES = 64 * 1024
# DroidCam serves one viewer; the next one gets this page, with status 200
_BUSY = re.compile(rb"DroidCam\s+is\s+busy", re.IGNORECASE)
_TAG = re.compile(rb"<[^<>]*>")
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,80})", re.IGNORECASE)
_CONTROL = re.compile(r"[\0-\x1f\x7f]")

CHECK_SERVER = "Check that it is switched on, in this network, and that its camera server runs"
_CHECK_URL = "Check upstream.url"
_CHECK_NETWORK = f"{_CHECK_URL}, and the network"


class Client:
    """Gets the stream or the pictures of *upstream*, one request at a time.

    *connected* is called with the socket of each connection, so that another thread can shut it down.
    """

    def __init__(self, upstream: UpstreamConfig, connected: Callable[[socket.socket], None]) -> None:
        self._home = self._url = urlsplit(quote(upstream.url, safe=string.punctuation))
        self._timeout = upstream.read_timeout_seconds
        self._fingerprint = upstream.tls_fingerprint
        self._connected = connected
        self._login = upstream_login.Login(unquote(self._home.username or ""), unquote(self._home.password or ""))
        self._accepted = False  # a new 401 then asks for a new answer, not for another password
        self._cookies: CookieJar | None = None
        self._socket: socket.socket | None = None
        self._file: BufferedReader | None = None
        self._response: Response | None = None

    def open(self) -> Response:
        """Follow redirects, log in if asked to, and return the response with pictures; SourceError if there is none.

        A later call asks again for what the last one found, on the same connection if the server keeps it.
        """
        for _ in range(_MOST_REQUESTS):
            url, at_home = self._url, _origin(self._url) == _origin(self._home)
            authorization = self._login.header(_selector(url)) if at_home else ""
            response = self._ask(url, authorization)
            if response.status in _PICTURES:
                self._accepted = True
                return response
            targets = [*filter(None, response.headers.get("location", []))]
            if response.status in _REDIRECTS and targets:
                self._url = _redirected(url, targets[0])
                continue
            demanded = upstream_login.challenges(response.headers.get("www-authenticate", []))
            is_stale = any(challenge.parameters.get("stale", "").lower() == "true" for challenge in demanded)
            may_log_in = is_stale or self._accepted or not authorization
            if response.status == 401 and at_home and self._home.username is not None and may_log_in:
                self._accepted = False
                if not self._login.take(demanded):
                    raise _unsupported(demanded, place(url))
                continue
            raise _refusal(response.status, place(url), bool(authorization), at_home)
        what = "asks for a login again and again" if response.status == 401 else "redirects in circles"
        raise _settings_error(place(self._home), what)

    def close(self) -> None:
        if self._file:
            self._file.close()
        if self._socket:
            self._socket.close()
        self._file = self._socket = self._response = None

    def _ask(self, url: SplitResult, authorization: str) -> Response:
        """Send GET *url*; return the response as soon as its header is there."""
        if _CONTROL.search(authorization):  # the server's realm cannot have them
            message = f"User or password for {place(url)} contain characters that HTTP cannot send"
            raise SourceError(message, Cause.SETTINGS, _CHECK_URL, setting="upstream.url", address=place(url)) from None
        fields = {
            "Host": _host_header(url),
            "User-Agent": f"pi-cam-daemon/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Cookie": self._cookie(url),
            "Authorization": authorization,
        }
        lines = [f"GET {_selector(url)} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1")
        try:
            response = self._answer(url, request)
        except HttpError as error:
            # a server may repeat what it was sent
            what = "" if authorization else f": {without_secrets(str(error))}"
            raise _settings_error(place(url), f"does not speak HTTP{what}") from None
        except (OSError, UnicodeError) as error:
            raise self._unreachable(error, url) from None
        self._remember(url, response)
        self._login.renew(response.headers.get("authentication-info", []))
        return response

    def _answer(self, url: SplitResult, request: bytes) -> Response:
        """Return the response to *request*, on the connection of the last one if possible."""
        if self._response and self._response.reusable and self._socket and self._file:
            # the server may have closed it meanwhile
            with contextlib.suppress(ConnectionError):
                self._socket.sendall(request)
                self._response = Response(self._file)
                return self._response
        self.close()
        self._connect(url)
        assert self._socket and self._file
        self._socket.sendall(request)
        self._response = Response(self._file)
        return self._response

    def _connect(self, url: SplitResult) -> None:
        host = _host(url)
        self._socket = socket.create_connection((host, _port(url)), self._timeout)
        self._connected(self._socket)
        if url.scheme == "https":
            # the fingerprint is that of the configured server, also where it redirects from http to https
            pinned = self._fingerprint if url.hostname == self._home.hostname else ""
            encrypted = _encrypted(self._socket, host, verified=not pinned)
            self._socket = encrypted
            self._connected(encrypted)
            if pinned and (found := _fingerprint(encrypted.getpeercert(binary_form=True))) != pinned:
                message = f"{place(url)}: its certificate has the fingerprint {found}"
                hint = "upstream.tls_fingerprint is another: if the camera has a new certificate, set it anew"
                values = {"address": place(url), "setting": "upstream.tls_fingerprint", "fingerprint": found}
                raise SourceError(message, Cause.PERMISSION, hint, **values)
        self._file = self._socket.makefile("rb")

    def _cookie(self, url: SplitResult) -> str:
        """Return the header Cookie for *url*."""
        if self._cookies is None:
            return ""
        request = _cookie_request(url)
        self._cookies.add_cookie_header(request)
        return request.get_header("Cookie") or ""

    def _remember(self, url: SplitResult, response: Response) -> None:
        """Keep the cookies of *response*. The modules for it are loaded when the first one arrives."""
        lines = response.headers.get("set-cookie")
        if not lines:
            return
        from email.message import Message
        from http.cookiejar import CookieJar

        if self._cookies is None or len(self._cookies) > _MOST_COOKIES:
            self._cookies = CookieJar()
        header = Message()
        for line in lines:
            header["Set-Cookie"] = line
        answer: Any = SimpleNamespace(info=lambda: header)
        self._cookies.extract_cookies(answer, _cookie_request(url))

    def _unreachable(self, error: Exception, url: SplitResult) -> SourceError:
        """Return the SourceError for a request to *url* that got no response."""
        if isinstance(error, SourceError):
            return error
        if isinstance(error, ssl.SSLCertVerificationError):
            message = f"{place(url)}: its certificate is not trusted: {error.verify_message}"
            hint = "Install the certificate of its CA on this machine"
            values = {"address": place(url), "error": error.verify_message}
            with contextlib.suppress(OSError, ValueError):
                plain = socket.create_connection((_host(url), _port(url)), self._timeout)
                with plain, _encrypted(plain, _host(url), verified=False) as encrypted:
                    found = _fingerprint(encrypted.getpeercert(binary_form=True))
                hint = f"If {found} is the camera's SHA-256 fingerprint, set upstream.tls_fingerprint to it"
                values |= {"setting": "upstream.tls_fingerprint", "fingerprint": found}
            return SourceError(message, Cause.PERMISSION, hint, **values)
        return _no_connection(error, place(url), _host(url))


def pictures_in(response: Response, place: str) -> bytes:
    """Return the first data of an answer that holds pictures; SourceError describes any other answer.

    Data counts, not the stated type. A stream of parts may begin with anything, so nothing of it is read yet.
    """
    kind = response.kind
    if kind.startswith("multipart/") and response.is_readable:
        return b""
    begin = b""
    try:
        while len(begin) < _BEGIN_BYTES and START not in begin and (data := response.read() or response.read_on()):
            begin += data
            if kind == "text/html" and b"</html" in begin.lower():
                break
    except OSError:
        if not begin:
            raise
        # what arrived until then tells what it is
    if START in begin:
        return begin
    values = {"setting": "upstream.url", "address": place, "type": kind[:80]}
    if not response.is_readable:
        what = f"compressed data ({response.coding[:40]})"
        values["type"] = response.coding[:40]
    elif kind == "text/html":
        if _BUSY.search(_TAG.sub(b" ", begin)):
            hint = "Close the page or program that shows it"
            raise SourceError("The phone's camera is in use by another viewer", Cause.BUSY, hint, address=place)
        title = _TITLE.search(begin)
        name = " ".join(title[1].decode(errors="replace").split()) if title else ""
        what = f'a web page, "{name}"' if title else "a web page"
        values["title"] = name
    else:
        what = kind[:80] or "data of no stated type"
        if "jp" in kind:
            what += f" that is no JPEG ({begin[:4].hex().upper() or 'empty'})"
    hint = f"{_CHECK_URL}; DroidCam's stream is at /video, other servers' often at /stream"
    raise SourceError(f"{place} sends {what}, not an MJPEG stream", Cause.SETTINGS, hint, **values)


def place(url: SplitResult) -> str:
    """Return host and port as in *url*, without user and password."""
    return url.netloc.rpartition("@")[2]


def _host(url: SplitResult) -> str:
    """Return the host to connect to. The zone of an IPv6 address may be written %25eth0 (RFC 6874) or %eth0."""
    host, zone, name = (url.hostname or "").partition("%")
    return host + zone + name.removeprefix("25") if ":" in host else url.hostname or ""


def _host_header(url: SplitResult) -> str:
    """Return host and port without the zone, which means something on this machine only."""
    return re.sub(r"%[^\]]*\]", "]", place(url)).removesuffix(":443" if url.scheme == "https" else ":80")


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    return url.scheme, url.hostname, _port(url)


def _selector(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _encrypted(plain: socket.socket, host: str, verified: bool) -> ssl.SSLSocket:
    """Return *plain* with TLS. Old cameras know only OpenSSL's ciphers that Python leaves out by default."""
    context = ssl.create_default_context()
    context.set_ciphers("DEFAULT")
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python leaves it to a file that DEFAULT overrides
    if not verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host.partition("%")[0])


def _fingerprint(certificate: bytes | None) -> str:
    return hashlib.sha256(certificate or b"").hexdigest()


def _cookie_request(url: SplitResult) -> Any:
    """Return *url* in the form that a CookieJar takes."""
    import urllib.request

    return urllib.request.Request(url._replace(netloc=_host_header(url)).geturl())


def _redirected(url: SplitResult, location: str) -> SplitResult:
    """Resolve the header Location of a response to *url*."""
    try:
        # as urllib does: servers send bytes that are not allowed in a URL
        target = urlsplit(quote(urljoin(url.geturl(), location), encoding="iso-8859-1", safe=string.punctuation))
        if target.scheme in ("http", "https") and target.hostname and target.port != 0:
            return target
    except ValueError:
        pass
    raise _settings_error(place(url), "redirects to an address that cannot be used")


def _settings_error(place: str, does: str) -> SourceError:
    """Return the SourceError for a server at *place* that *does* what upstream.url did not lead one to expect."""
    return SourceError(f"{place} {does}", Cause.SETTINGS, _CHECK_URL, setting="upstream.url", address=place, error=does)


def _unsupported(demanded: list[upstream_login.Challenge], place: str) -> SourceError:
    schemes = ", ".join(challenge.scheme[:20] for challenge in demanded)
    message = f"{place} requires a login method that is not supported ({schemes})"
    hint = "Set it to Basic, or to Digest with MD5 or SHA-256"
    return SourceError(message, Cause.PERMISSION, hint, address=place, offers=schemes, wanted="Basic, Digest")


def _refusal(status: int, place: str, authorized: bool, at_home: bool) -> SourceError:
    """Return the SourceError for a *status* other than 200."""
    try:
        named = f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        named = str(status)
    values = {"address": place, "status": str(status)}
    match status:
        case 401 | 403 | 407:
            cause = Cause.PERMISSION
            values |= {"setting": "upstream.url", "login": "wrong" if authorized else "missing"}
            if authorized:
                hint = "Check user and password in upstream.url"
            elif at_home:
                hint = "Write user and password into upstream.url: http://user:password@host/path"
            else:
                hint = "The server in upstream.url redirected there, where its password is not sent: set this address"
                values["login"] = "elsewhere"
        case 404 | 410:
            cause = Cause.MISSING
            values["setting"] = "upstream.url"
            hint = "Check the path in upstream.url; DroidCam's is /video, other servers' often /stream"
        case 429 | 503:
            cause, hint = Cause.BUSY, "It may have reached its limit of viewers"
        case _:
            cause, hint = Cause.LOST, _CHECK_URL
    return SourceError(f"{place} answers {named}", cause, hint, **values)


def _no_connection(error: Exception, place: str, host: str) -> SourceError:
    """Return the SourceError for a connection to *host* that failed."""
    if isinstance(error, socket.gaierror | UnicodeError):
        address, zone, interface = host.partition("%")
        if zone:
            message = f'{place}: this machine has no network interface "{interface}" for {address}'
            return SourceError(message, Cause.MISSING, _CHECK_NETWORK, address=place, interface=interface)
        return SourceError(f'The name "{host}" is not found', Cause.MISSING, _CHECK_NETWORK, address=place, host=host)
    if isinstance(error, ssl.SSLError):
        why = (error.reason or "").replace("_", " ").lower() or "handshake failed"
        hint = "It may need an older TLS than 1.2" if "alert" in why else "Perhaps it speaks http:// only"
        values = {"address": place, "setting": "upstream.url", "error": why}
        return SourceError(f"{place}: no TLS connection: {why}", Cause.SETTINGS, hint, **values)
    if isinstance(error, ConnectionRefusedError):
        message = f"{place} refuses the connection"
        return SourceError(message, Cause.MISSING, CHECK_SERVER, address=place, error="ECONNREFUSED")
    if isinstance(error, ConnectionError):
        return SourceError(f"{place} closes the connection without an answer", Cause.LOST, CHECK_SERVER, address=place)
    if isinstance(error, TimeoutError):
        message = f"{place} does not answer"
        return SourceError(message, Cause.MISSING, CHECK_SERVER, address=place, error="ETIMEDOUT")
    why = error.strerror if isinstance(error, OSError) and error.strerror else "no connection"
    name = errno.errorcode.get(error.errno or 0, why) if isinstance(error, OSError) else why
    hint = CHECK_SERVER
    if host.lower().startswith("fe80:") and "%" not in host:
        hint = "A link-local address needs the network interface: http://[fe80::1%eth0]/"
    return SourceError(f"{place} cannot be reached: {why}", Cause.MISSING, hint, address=place, error=name)
