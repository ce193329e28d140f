"""Asks another server for its MJPEG stream: redirects, passwords, and what it says instead.

A password goes to the server that the configuration names and to nobody else, and is in no message.
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

# a parameter of a challenge; what is none begins the next challenge
_PARAMETER = re.compile(r"([^\s=]+)\s*=\s*(.*)", re.DOTALL)
# redirects and the one demand for a password; a server that wants more goes in circles
_MOST_REQUESTS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
# how much of a web page is looked at to say what it is
_PAGE_BYTES = 64 * 1024
# DroidCam serves one viewer, and tells the next one on a page of status 200
_BUSY = re.compile(rb"DroidCam\s+is\s+busy", re.IGNORECASE)
_TAG = re.compile(rb"<[^<>]*>")
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,80})", re.IGNORECASE)

CHECK_SERVER = "Check that it is switched on, in this network, and that its camera server runs"
_CHECK_URL = "Check upstream.url"


def open_stream(upstream: UpstreamConfig, connected: Callable[[socket.socket], None]) -> http.client.HTTPResponse:
    """Return the answer with the stream, after redirects and, once, the password; SourceError if there is none.

    *connected* is called with the socket of each connection, so that another thread can cut it.
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
    raise SourceError(f"{place(home)} sends its visitors in circles", Cause.SETTINGS, _CHECK_URL)


def _ask(
    url: SplitResult, authorization: str, timeout: float, connected: Callable[[socket.socket], None]
) -> http.client.HTTPResponse:
    """Return the answer to a GET of *url* once its header is there."""
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
    except ValueError:  # a header that cannot be sent; the error shows it
        message = f"{place(url)} cannot be asked with this user and password"
        raise SourceError(message, Cause.SETTINGS, _CHECK_URL) from None


def boundary_of(response: http.client.HTTPResponse, place: str) -> str:
    """Return the boundary of the stream from *place*; SourceError says what the answer is if it is no stream."""
    headers = response.headers
    coding = headers.get("Content-Encoding", "identity").strip().lower()
    kind = headers.get_content_type() if "Content-Type" in headers else "data of no stated type"
    if kind.startswith("multipart/") and coding == "identity":
        boundary = headers.get_boundary("")
        if boundary:
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
    # never left to http.client, which takes the last group of an IPv6 address for one
    return url.port or (443 if url.scheme == "https" else 80)


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    return url.scheme, url.hostname, _port(url)


def _selector(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _redirected(url: SplitResult, location: str) -> SplitResult:
    """Resolve *location*, from a server's answer to *url*."""
    try:
        # urllib's own reading: servers send bytes that belong into no URL
        target = urlsplit(quote(urljoin(url.geturl(), location), encoding="iso-8859-1", safe=string.punctuation))
        if target.scheme in ("http", "https") and target.hostname and target.port != 0:
            return target
    except ValueError:
        pass
    raise SourceError(f"{place(url)} redirects to an address that cannot be used", Cause.SETTINGS, _CHECK_URL)


def _authorization(home: SplitResult, url: SplitResult, headers: Message) -> str:
    """Return the answer to the demand for a password in *headers*; Digest first, it does not send the password."""
    user, password = unquote(home.username or ""), unquote(home.password or "")
    challenges = _challenges(headers)
    bare = url._replace(netloc=place(url))
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, bare.geturl(), user, password)
    digest = urllib.request.AbstractDigestAuthHandler(passwords)
    request = urllib.request.Request(bare.geturl())
    request.selector = _selector(url)  # what is signed is what is asked for
    for scheme, parameters in challenges:
        if scheme == "digest":
            # an algorithm that urllib does not know, a letter that it cannot code
            with contextlib.suppress(ValueError, OSError):
                if answer := digest.get_authorization(request, parameters):
                    return f"Digest {answer}"
    if any(scheme == "basic" for scheme, _ in challenges):
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    schemes = ", ".join(scheme[:20] for scheme, _ in challenges) or "nothing known"
    raise SourceError(
        f"{place(url)} wants a way to log in that is not known here ({schemes})",
        Cause.PERMISSION,
        "Set it to Basic or to Digest with MD5",
    )


def _challenges(headers: Message) -> list[tuple[str, dict[str, str]]]:
    """Parse WWW-Authenticate: the schemes in lower case, and their parameters as urllib knows them.

    Commas are between challenges and between the parameters of one.
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
    """Explain a *status* other than 200."""
    try:
        named = f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        named = str(status)
    message = f"{place} answers {named}"
    match status:
        case 401 | 403 | 407:
            if authorized:
                hint = "Check user and password in upstream.url"
            elif at_home:
                hint = "Write user and password into upstream.url: http://user:password@host/path"
            else:
                hint = "The server in upstream.url redirected there, where its password is not sent: set this address"
            return SourceError(message, Cause.PERMISSION, hint)
        case 404 | 410:
            hint = "Check the path in upstream.url; DroidCam's is /video, other servers' often /stream"
            return SourceError(message, Cause.MISSING, hint)
        case 429 | 503:
            return SourceError(message, Cause.BUSY, "It may have as many viewers as it serves")
    return SourceError(message, Cause.LOST, _CHECK_URL)


def _unreachable(error: Exception, place: str, host: str) -> SourceError:
    """Explain why there is no answer from *place*."""
    if isinstance(error, socket.gaierror | UnicodeError):
        message, hint = f'The name "{host}" is not found', f"{_CHECK_URL}, and the network"
        return SourceError(message, Cause.MISSING, hint)
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "Install the certificate of who signed it on this machine, or use http:// where that is there"
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
    """Read the beginning of a web page; less of it where the server does not end its answer."""
    page = b""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        while len(page) < _PAGE_BYTES and b"</html" not in page.lower():
            data = response.read1(_PAGE_BYTES)
            if not data:
                break
            page += data
    return page
