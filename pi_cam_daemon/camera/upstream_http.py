"""HTTP client for the MJPEG stream of another server: redirects, logins, and errors in plain words.

The password goes only to the server that the configuration names, and into no message.
"""

from __future__ import annotations

import base64
import contextlib
import http
import http.client
import re
import socket
import ssl
import string
import urllib.request
from collections.abc import Callable
from email.message import Message
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from pi_cam_daemon import __version__
from pi_cam_daemon.config.schema import UpstreamConfig
from pi_cam_daemon.errors import Cause, SourceError

# a parameter of a challenge; anything else begins the next challenge
_PARAMETER = re.compile(r"([^\s=]+)\s*=\s*(.*)", re.DOTALL)
# redirects, and one login; more of them are a loop
_MOST_REQUESTS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
# how much of a web page is read to describe it
_PAGE_BYTES = 64 * 1024
# DroidCam serves one viewer; the next one gets this page, with status 200
_BUSY = re.compile(rb"DroidCam\s+is\s+busy", re.IGNORECASE)
_TAG = re.compile(rb"<[^<>]*>")
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,80})", re.IGNORECASE)

CHECK_SERVER = "Check that it is switched on, in this network, and that its camera server runs"
_CHECK_URL = "Check upstream.url"


def open_stream(upstream: UpstreamConfig, connected: Callable[[socket.socket], None]) -> http.client.HTTPResponse:
    """Follow redirects, log in once if asked to, and return the response with status 200; SourceError if there is none.

    *connected* is called with the socket of each connection, so that another thread can shut it down.
    """
    url = urlsplit(quote(upstream.url, safe=string.punctuation))
    home = url
    authorization = ""
    for _ in range(_MOST_REQUESTS):
        response = _ask(url, authorization, upstream.read_timeout_seconds, connected)
        if response.status == 200:
            return response
        at_home = _origin(url) == _origin(home)
        with response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                url = _redirected(url, response.headers["Location"])
                authorization = ""
            elif response.status == 401 and at_home and home.username and not authorization:
                authorization = _authorization(home, url, response.headers)
            else:
                raise _refusal(response.status, place(url), bool(authorization), at_home)
    raise SourceError(f"{place(home)} redirects in circles", Cause.SETTINGS, _CHECK_URL)


def _ask(
    url: SplitResult, authorization: str, timeout: float, connected: Callable[[socket.socket], None]
) -> http.client.HTTPResponse:
    """Send GET *url*; return the response as soon as its header is there."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    headers = {"User-Agent": f"pi-cam-daemon/{__version__}", "Connection": "close"}
    if authorization:
        headers["Authorization"] = authorization
    try:
        connection = kind(url.hostname or "", _port(url), timeout=timeout)
        connection.connect()
        connected(connection.sock)
        connection.request("GET", _selector(url), headers=headers)
        return connection.getresponse()
    except (OSError, UnicodeError) as error:
        raise _unreachable(error, place(url), url.hostname or "") from None
    except http.client.HTTPException:
        raise SourceError(f"{place(url)} does not speak HTTP", Cause.SETTINGS, _CHECK_URL) from None
    except ValueError:  # invalid characters in a header; the error would show the password
        message = f"User or password for {place(url)} contain characters that HTTP cannot send"
        raise SourceError(message, Cause.SETTINGS, _CHECK_URL) from None


def boundary_of(response: http.client.HTTPResponse, place: str) -> str:
    """Return the boundary of the stream from *place*; SourceError describes a response that is no stream."""
    headers = response.headers
    coding = headers.get("Content-Encoding", "identity").strip().lower()
    kind = headers.get_content_type() if "Content-Type" in headers else "data of no stated type"
    if kind.startswith("multipart/") and coding == "identity":
        if boundary := headers.get_boundary(""):
            return boundary
        what = "a stream without a boundary"
    elif kind == "text/html":
        page = _page(response)
        if _BUSY.search(_TAG.sub(b" ", page)):
            hint = "Close the page or program that shows it"
            raise SourceError("The phone's camera is in use by another viewer", Cause.BUSY, hint)
        title = _TITLE.search(page)
        what = f'a web page, "{" ".join(title[1].decode(errors="replace").split())}"' if title else "a web page"
    elif coding != "identity":
        what = f"compressed data ({coding[:40]})"
    elif kind.startswith("image/"):
        what = "one picture"
    else:
        what = kind[:80]
    hint = f"{_CHECK_URL}; DroidCam's stream is at /video, other servers' often at /stream"
    raise SourceError(f"{place} sends {what}, not an MJPEG stream", Cause.SETTINGS, hint)


def place(url: SplitResult) -> str:
    """Return host and port as in *url*, without user and password."""
    return url.netloc.rpartition("@")[2]


def _port(url: SplitResult) -> int:
    # http.client would take the last group of an IPv6 address for the port
    return url.port or (443 if url.scheme == "https" else 80)


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    return url.scheme, url.hostname, _port(url)


def _selector(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _redirected(url: SplitResult, location: str) -> SplitResult:
    """Resolve the header Location of a response to *url*."""
    try:
        # as urllib does: servers send bytes that are not allowed in a URL
        target = urlsplit(quote(urljoin(url.geturl(), location), encoding="iso-8859-1", safe=string.punctuation))
        if target.scheme in ("http", "https") and target.hostname and target.port != 0:
            return target
    except ValueError:
        pass
    raise SourceError(f"{place(url)} redirects to an address that cannot be used", Cause.SETTINGS, _CHECK_URL)


def _authorization(home: SplitResult, url: SplitResult, headers: Message) -> str:
    """Return the header Authorization for the challenges in *headers*; Digest first: it does not send the password."""
    user, password = unquote(home.username or ""), unquote(home.password or "")
    challenges = _challenges(headers)
    bare = url._replace(netloc=place(url))
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, bare.geturl(), user, password)
    digest = urllib.request.AbstractDigestAuthHandler(passwords)
    request = urllib.request.Request(bare.geturl())
    request.selector = _selector(url)  # exactly what the request line will have
    for scheme, parameters in challenges:
        if scheme == "digest":
            # an unknown algorithm, or a character that urllib cannot encode
            with contextlib.suppress(ValueError, OSError):
                if answer := digest.get_authorization(request, parameters):
                    return f"Digest {answer}"
    if any(scheme == "basic" for scheme, _ in challenges):
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    schemes = ", ".join(scheme[:20] for scheme, _ in challenges) or "nothing known"
    message = f"{place(url)} requires a login method that is not supported ({schemes})"
    raise SourceError(message, Cause.PERMISSION, "Set it to Basic or to Digest with MD5")


def _challenges(headers: Message) -> list[tuple[str, dict[str, str]]]:
    """Parse WWW-Authenticate: return each scheme in lower case, and its parameters in the form that urllib expects.

    Commas separate both challenges and the parameters of one.
    """
    challenges: list[tuple[str, dict[str, str]]] = []
    for line in headers.get_all("WWW-Authenticate", []):
        for element in filter(None, urllib.request.parse_http_list(line)):
            parameter = _PARAMETER.fullmatch(element)
            if not parameter:
                scheme, *first = element.split(maxsplit=1)
                challenges.append((scheme.lower(), {}))
                parameter = _PARAMETER.fullmatch("".join(first))
            if parameter and challenges:
                challenges[-1][1][parameter[1].lower()] = parameter[2].removeprefix('"').removesuffix('"')
    for _, parameters in challenges:
        if "algorithm" in parameters:
            parameters["algorithm"] = parameters["algorithm"].upper()
        if "qop" in parameters:
            parameters["qop"] = ",".join(parameters["qop"].lower().replace(",", " ").split())
    return challenges


def _refusal(status: int, place: str, authorized: bool, at_home: bool) -> SourceError:
    """Return the SourceError for a *status* other than 200."""
    try:
        named = f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        named = str(status)
    match status:
        case 401 | 403 | 407:
            cause = Cause.PERMISSION
            if authorized:
                hint = "Check user and password in upstream.url"
            elif at_home:
                hint = "Write user and password into upstream.url: http://user:password@host/path"
            else:
                hint = "The server in upstream.url redirected there, where its password is not sent: set this address"
        case 404 | 410:
            cause = Cause.MISSING
            hint = "Check the path in upstream.url; DroidCam's is /video, other servers' often /stream"
        case 429 | 503:
            cause, hint = Cause.BUSY, "It may have reached its limit of viewers"
        case _:
            cause, hint = Cause.LOST, _CHECK_URL
    return SourceError(f"{place} answers {named}", cause, hint)


def _unreachable(error: Exception, place: str, host: str) -> SourceError:
    """Return the SourceError for a request to *place* that got no response."""
    if isinstance(error, socket.gaierror | UnicodeError):
        message, hint = f'The name "{host}" is not found', f"{_CHECK_URL}, and the network"
        return SourceError(message, Cause.MISSING, hint)
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "Install the certificate of its CA on this machine, or use http:// if the server offers it"
        message = f"{place}: its certificate is not trusted: {error.verify_message}"
        return SourceError(message, Cause.PERMISSION, hint)
    if isinstance(error, ssl.SSLError):
        why = (error.reason or "").replace("_", " ").lower() or "handshake failed"
        return SourceError(f"{place}: no TLS connection: {why}", Cause.SETTINGS, "Perhaps it speaks http:// only")
    if isinstance(error, ConnectionRefusedError):
        return SourceError(f"{place} refuses the connection", Cause.MISSING, CHECK_SERVER)
    if isinstance(error, ConnectionError):
        return SourceError(f"{place} closes the connection without an answer", Cause.LOST, CHECK_SERVER)
    if isinstance(error, TimeoutError):
        return SourceError(f"{place} does not answer", Cause.MISSING, CHECK_SERVER)
    why = error.strerror if isinstance(error, OSError) and error.strerror else "no connection"
    return SourceError(f"{place} cannot be reached: {why}", Cause.MISSING, CHECK_SERVER)


def _page(response: http.client.HTTPResponse) -> bytes:
    """Read the beginning of a web page, or what arrives of it."""
    page = b""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        while len(page) < _PAGE_BYTES and b"</html" not in page.lower() and (data := response.read1(_PAGE_BYTES)):
            page += data
    return page
