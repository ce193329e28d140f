"""Another server's MJPEG stream as a camera: a phone, a network camera, another pi_cam_daemon.

The other side is not ours: every answer is bounded and every wait has a deadline. A password goes to the server that
the configuration names and to nobody else, and is in no message.
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
import threading
import time
import urllib.request
from email.message import Message
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from pi_cam_daemon import __version__, jpeg, multipart
from pi_cam_daemon.config import UpstreamConfig, VideoConfig
from pi_cam_daemon.errors import Cause, JpegError, SourceError
from pi_cam_daemon.exif import Photo
from pi_cam_daemon.orientation import Orientation
from pi_cam_daemon.redaction import without_secrets
from pi_cam_daemon.sources import CameraInfo, Commands, Sink, Still, Stop, TakeStill, next_command
from pi_cam_daemon.sources.dropped import Dropped

# how soon a Stop is obeyed and a deadline noticed
_LOOK_SECONDS = 0.2
# how long the thread that reads may take to end once its connection is cut
_CLOSE_SECONDS = 0.5
# a frame of usual size takes one or two
_READ_BYTES = 64 * 1024
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

_CHECK_URL = "Check upstream.url"
_CHECK_SERVER = "Check that it is switched on, in this network, and that its camera server runs"


class UpstreamSource:
    """Passes on the stream of *upstream*, its pictures turned as *video* asks for and otherwise untouched."""

    def __init__(self, video: VideoConfig, upstream: UpstreamConfig) -> None:
        self._video = video
        self._upstream = upstream
        self._orientation = Orientation.of(video)

    def run(self, sink: Sink, commands: Commands) -> None:
        """Connect and deliver until told to stop; SourceError when there is no stream, or none any more.

        A server that talks on without a whole picture, for twice as long as it may be silent or for ten frame periods,
        is given up, too: it sends rubbish for ever, or pictures so slowly that they show nobody what happens now. How
        long the first picture may take is for source.start_timeout_seconds to say.
        """
        if not self._upstream.url:
            raise SourceError("No upstream is set", Cause.SETTINGS, "upstream.url takes the address of an MJPEG stream")
        url = urlsplit(self._upstream.url)
        patience = max(2 * self._upstream.read_timeout_seconds, 10 / self._video.framerate)
        name = without_secrets(f"{_place(url)}{url.path}")
        dropped = Dropped(name)
        delivered_at = 0.0
        opened = False
        still = 0  # the number of the one that is wanted
        wrong = ""
        receiver = _Receiver(self._upstream)
        receiver.start()
        try:
            while not isinstance(command := next_command(commands), Stop):
                if isinstance(command, TakeStill):
                    still = command.number
                picture, captured_ns = receiver.newest(_LOOK_SECONDS)
                if picture:
                    try:
                        picture = self._orientation.jpeg(jpeg.repair(picture))
                        if not opened:
                            sink.opened(self._info(name, *jpeg.size(picture)))
                            opened = True
                        sink.frame(picture, captured_ns)
                        if still:
                            jpeg_with_time = self._orientation.described(picture, Photo(captured_ns))
                            sink.still(Still(still, jpeg_with_time, captured_ns))
                            still = 0
                        delivered_at = time.monotonic()
                    except JpegError as error:
                        wrong = f"; the last one is refused: {error}"
                        dropped.add(str(error))
                    del picture
                if opened and time.monotonic() - delivered_at > patience:
                    raise SourceError(f"{_place(url)} has sent no whole picture for {patience:g} s{wrong}")
        finally:
            receiver.close()

    def _info(self, name: str, width: int, height: int) -> CameraInfo:
        return CameraInfo(
            kind="upstream",
            name=name,
            width=width,
            height=height,
            # No server tells its own, and it can be measured only after many frames, while stalls are judged by it
            # from the second one on: the owner knows best how slow this camera may be.
            framerate=self._video.framerate,
            pixel_format="MJPG",
            encoder="passed through",
        )


class _Receiver:
    """Reads the stream in a thread of its own and holds ONE newest picture.

    So nothing that blocks, such as the look-up of a name, keeps a Stop waiting; and of pictures that come faster than
    they can be turned some are left out, instead of all growing old in the kernel's buffers.
    """

    def __init__(self, upstream: UpstreamConfig) -> None:
        self._upstream = upstream
        self._place = _place(urlsplit(upstream.url))
        self._changed = threading.Condition()
        self._newest = (b"", 0)
        self._error: Exception | None = None
        self._socket: socket.socket | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def newest(self, timeout: float) -> tuple[bytes, int]:
        """The newest picture, each one once, and when it had arrived (CLOCK_MONOTONIC in ns).

        No bytes if none comes within *timeout* seconds. Raises what ended the stream.
        """
        with self._changed:
            if not self._newest[0] and not self._error:
                self._changed.wait(timeout)
            newest, self._newest = self._newest, (b"", 0)
            if self._error and not newest[0]:
                raise self._error
            return newest

    def close(self) -> None:
        """Cut the connection. A name that is still being looked up is left to its own deadline."""
        with self._changed:
            self._closing = True
            self._cut()
        self._thread.join(_CLOSE_SECONDS)

    # -- the thread

    def _run(self) -> None:
        try:
            with self._open() as response:
                self._receive(response)
        except Exception as error:  # noqa: BLE001 - the top of this thread: raised again in the source's
            with self._changed:
                self._error = error
                self._changed.notify()
        finally:
            if self._socket:
                self._socket.close()

    def _cut(self) -> None:
        if self._socket and self._closing:
            with contextlib.suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)

    def _open(self) -> http.client.HTTPResponse:
        """The answer with the stream, after redirects and, once, the password."""
        url = urlsplit(quote(self._upstream.url, safe=string.punctuation))
        home = url
        authorization = ""
        for _ in range(_MOST_REQUESTS):
            response = self._ask(url, authorization)
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
                    raise _refusal(response.status, _place(url), bool(authorization), at_home)
        raise SourceError(f"{self._place} sends its visitors in circles", Cause.SETTINGS, _CHECK_URL)

    def _ask(self, url: SplitResult, authorization: str) -> http.client.HTTPResponse:
        """The answer to a GET of *url*, of which the header is there."""
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        headers = {"User-Agent": f"pi-cam-daemon/{__version__}", "Connection": "close"}
        if authorization:
            headers["Authorization"] = authorization
        try:
            connection = kind(url.hostname or "", _port(url), timeout=self._upstream.read_timeout_seconds)
            connection.connect()
            with self._changed:
                if self._socket:
                    self._socket.close()
                self._socket = connection.sock
                self._cut()
            connection.request("GET", _selector(url), headers=headers)
            return connection.getresponse()
        except (OSError, UnicodeError) as error:
            raise _unreachable(error, _place(url), url.hostname or "") from None
        except http.client.HTTPException:
            raise SourceError(f"{_place(url)} does not speak HTTP", Cause.SETTINGS, _CHECK_URL) from None
        except ValueError:  # a header that cannot be sent; the error shows it
            message = f"{_place(url)} cannot be asked with this user and password"
            raise SourceError(message, Cause.SETTINGS, _CHECK_URL) from None

    def _receive(self, response: http.client.HTTPResponse) -> None:
        boundary = self._boundary(response)
        try:
            reader = multipart.Reader(boundary)
            while data := response.read1(_READ_BYTES):
                for picture in reader.feed(data):
                    with self._changed:
                        self._newest = picture, time.monotonic_ns()
                        self._changed.notify()
                    del picture  # it may have megabytes, and the next one is long in coming
        except TimeoutError:
            seconds = self._upstream.read_timeout_seconds
            raise SourceError(f"{self._place} has sent nothing for {seconds:g} s", hint=_CHECK_SERVER) from None
        except multipart.MultipartError as error:
            raise SourceError(f"{self._place} sends no MJPEG stream: {error}", Cause.SETTINGS) from None
        except (OSError, http.client.HTTPException):
            raise SourceError(f"The connection to {self._place} broke", hint=_CHECK_SERVER) from None
        raise SourceError(f"{self._place} has ended the stream", hint=_CHECK_SERVER)

    def _boundary(self, response: http.client.HTTPResponse) -> str:
        """The boundary of a stream; SourceError says what the answer is, if it is none."""
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
        raise SourceError(f"{self._place} sends {what}, not an MJPEG stream", Cause.SETTINGS, hint)


def _place(url: SplitResult) -> str:
    """Host and port as in *url*, without user and password."""
    return url.netloc.rpartition("@")[2]


def _port(url: SplitResult) -> int:
    # never left to http.client, which takes the last group of an IPv6 address for one
    return url.port or (443 if url.scheme == "https" else 80)


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    return url.scheme, url.hostname, _port(url)


def _selector(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _redirected(url: SplitResult, location: str) -> SplitResult:
    """Where *location*, from a server's answer, leads from *url*."""
    try:
        # urllib's own reading: servers send bytes that belong into no URL
        target = urlsplit(quote(urljoin(url.geturl(), location), encoding="iso-8859-1", safe=string.punctuation))
        if target.scheme in ("http", "https") and target.hostname and target.port != 0:
            return target
    except ValueError:
        pass
    raise SourceError(f"{_place(url)} redirects to an address that cannot be used", Cause.SETTINGS, _CHECK_URL)


def _authorization(home: SplitResult, url: SplitResult, headers: Message) -> str:
    """What to answer to the demand for a password in *headers*; Digest goes first, it does not send the password."""
    user, password = unquote(home.username or ""), unquote(home.password or "")
    challenges = _challenges(headers)
    bare = url._replace(netloc=_place(url))
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
        f"{_place(url)} wants a way to log in that is not known here ({schemes})",
        Cause.PERMISSION,
        "Set it to Basic or to Digest with MD5",
    )


def _challenges(headers: Message) -> list[tuple[str, dict[str, str]]]:
    """The schemes in WWW-Authenticate, in lower case, and their parameters as urllib knows them.

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
    """What a *status* other than 200 means."""
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
    """Why there is no answer from *place*."""
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
        return SourceError(f"{place} refuses the connection", Cause.MISSING, _CHECK_SERVER)
    if isinstance(error, ConnectionError):
        return SourceError(f"{place} closes the connection without an answer", Cause.LOST, _CHECK_SERVER)
    if isinstance(error, TimeoutError):
        return SourceError(f"{place} does not answer", Cause.MISSING, _CHECK_SERVER)
    why = error.strerror if isinstance(error, OSError) and error.strerror else "no connection"
    return SourceError(f"{place} cannot be reached: {why}", Cause.MISSING, _CHECK_SERVER)


def _page(response: http.client.HTTPResponse) -> bytes:
    """The beginning of a web page; less of it where the server does not end its answer."""
    page = b""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        while len(page) < _PAGE_BYTES and b"</html" not in page.lower():
            data = response.read1(_PAGE_BYTES)
            if not data:
                break
            page += data
    return page
