"""UpstreamSource against servers that behave as real ones were seen to, and worse."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.camera import upstream
from pi_cam_daemon.camera.source import Source
from pi_cam_daemon.camera.upstream import UpstreamSource
from pi_cam_daemon.config.schema import UpstreamConfig, VideoConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc import pace
from pi_cam_daemon.ipc.messages import CameraInfo
from tests.harness import basic, until
from tests.lateness import patience
from tests.sources import LosableSourceContract, Run, video
from tests.upstream.servers import (
    BOUNDARY,
    PICTURES,
    STREAM,
    Answer,
    Request,
    fields,
    header,
    hold,
    once,
    paced,
    part,
    picture,
    serving,
    status,
    then_silence,
)


class Upstream(Run):
    """A started run of the source."""

    def __init__(self, url: str, timeout: float = 1.0) -> None:
        self.source = UpstreamSource(video(framerate=25.0), UpstreamConfig(url, timeout))
        super().__init__(self.source)
        self.thread.start()

    def pictures(self, count: int) -> list[bytes]:
        return [data for data, _ in self.wait_for_frames(count)]

    def failure(self, seconds: float = 10.0) -> SourceError:
        """Return the error that ended the run."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "still running"
        assert isinstance(self.error, SourceError), repr(self.error)
        return self.error


@contextlib.contextmanager
def running(url: str, timeout: float = 1.0) -> Iterator[Upstream]:
    run = Upstream(url, timeout)
    try:
        yield run
    finally:
        run.stop()


class TestContract(LosableSourceContract):
    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        with serving(STREAM) as self.server:
            yield

    def make(self, settings: VideoConfig) -> Source:
        return UpstreamSource(settings, UpstreamConfig(self.server.url(), 1.0))

    def lose(self) -> None:
        self.server.hang_up()


def pictures_of(answer: Answer, count: int = 3) -> list[bytes]:
    with serving(answer) as server, running(server.url()) as source:
        return source.pictures(count)


def failure_of(answer: Answer, timeout: float = 1.0, seconds: float = 10.0) -> SourceError:
    with serving(answer) as server:
        error = Upstream(server.url(), timeout).failure(seconds)
        assert server.place in error.message or error.cause is Cause.BUSY
        return error


# --- streams


def test_pictures_arrive_unchanged_with_their_time_of_arrival() -> None:
    before = time.monotonic_ns()
    with serving(STREAM) as server, running(server.url("/cam/video?x=1")) as source:
        assert source.pictures(6) == PICTURES * 2
        times = [captured for _, captured in source.frames[:6]]
        assert times == sorted(times) and before < times[0] and times[5] < time.monotonic_ns()
        name = f"{server.place}/cam/video"
        assert source.info == CameraInfo("upstream", name, 64, 48, 25.0, "MJPG", "passed through")
        assert [request.path for request in server.requests] == ["/cam/video?x=1"]
        assert source.stop() < 1
        until("the connection is closed", lambda: server.open == 0)


QUIRKS = {
    "DroidCam": (
        header("multipart/x-mixed-replace;boundary=dcmjpeg", "Connection: Keep-Alive", "Expires: 0"),
        b"--dcmjpeg\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n",
    ),
    "the tutorial, HTTP/1.0 and LF alone": (
        b"HTTP/1.0 200 OK\nContent-Type: multipart/x-mixed-replace;boundary=myboundary\n\n",
        b"--myboundary\nContent-Type:image/jpeg\nContent-Length: %d\n\n%s\n",
    ),
    "quoted boundary": (
        header('multipart/x-mixed-replace; boundary="a b;c"'),
        b"--a b;c\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n",
    ),
    "boundary with dashes, type in capitals": (
        header("Multipart/X-Mixed-Replace; BOUNDARY=--frame"),
        b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n",
    ),
    "padded length": (header(), b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %9d\r\n\r\n%s\r\n"),
    "end marker in the middle": (
        header(),
        b"--frame--\r\n\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n",
    ),
    "boundary behind the picture": (
        header() + b"--frame\r\n",
        b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n--frame\r\n",
    ),
    "no first boundary": (header(), b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n--frame\r\n"),
    "length too long": (header(), b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 99%d\r\n\r\n%s\r\n"),
    "length too short": (header(), b"--frame\r\nContent-Type: image/jpeg\r\nX: %d\r\nContent-Length: 20\r\n\r\n%s\r\n"),
    "no length": (header(), b"--frame\r\nContent-Type: image/jpeg\r\nX: %d\r\n\r\n%s\r\n"),
    "other parts between": (
        header(),
        b"--frame\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
        b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n",
    ),
    "broken pictures between": (
        header(),
        b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 6\r\n\r\nbroken\r\n"
        b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n",
    ),
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_stream_with_a_quirk_is_read(quirk: str) -> None:
    answer, form = QUIRKS[quirk]
    assert pictures_of(paced(answer, *(form % (len(jpeg), jpeg) for jpeg in PICTURES))) == PICTURES


def test_a_chunked_stream_is_read() -> None:
    chunks = [b"%x\r\n%s\r\n" % (len(data), data) for data in map(part, PICTURES)]
    assert pictures_of(paced(header()[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", *chunks)) == PICTURES


def test_the_size_may_change_in_a_stream() -> None:
    sizes = [picture(1, 64, 48), picture(2, 32, 32), picture(3, 128, 16)]
    assert pictures_of(paced(header(), *map(part, sizes))) == sizes


def test_the_newest_of_pictures_that_come_too_fast_is_passed_on() -> None:
    burst = b"".join(part(picture(number)) for number in range(200))
    with serving(then_silence(header() + burst)) as server, running(server.url()) as source:
        until("the last picture", lambda: source.frames and source.frames[-1][0] == picture(199))
        assert len(source.frames) < 200


# --- the end of a stream


def test_the_end_of_the_stream_is_reported_after_its_last_picture() -> None:
    with serving(paced(header(), part(PICTURES[0]), last=b"--frame--\r\n")) as server:
        source = Upstream(server.url())
        error = source.failure()
        assert (error.cause, error.message) == (Cause.LOST, f"{server.place} has ended the stream")
        assert [jpeg for jpeg, _ in source.frames] == [PICTURES[0]]


def reset(sock: socket.socket, _: Request) -> None:
    sock.sendall(header() + part(PICTURES[0]) + b"--frame\r\n")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize(
    "answer",
    [
        reset,
        once(header()[:-2] + b"Transfer-Encoding: chunked\r\n\r\nff\r\nshort"),
        once(header()[:-2] + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n"),
    ],
)
def test_a_broken_connection_is_reported(answer: Answer) -> None:
    error = failure_of(answer)
    assert error.cause is Cause.LOST
    assert "broke" in error.message


@pytest.mark.parametrize("said", [header(), header() + part(PICTURES[0]), header() + part(PICTURES[0])[:-50]])
def test_silence_is_reported_after_the_timeout(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "_FIRST_SECONDS", 1.0)
    before = time.monotonic()
    error = failure_of(then_silence(said), timeout=0.5)
    assert error.cause is Cause.LOST
    assert "has sent nothing for 1 s" in error.message
    assert 0.9 < time.monotonic() - before < patience(10)


def test_silence_is_reported_by_the_measured_time_between_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SILENT_SECONDS", 0.1)
    times: list[float] = []

    def slow(sock: socket.socket, _: Request) -> None:
        sock.sendall(header())
        for jpeg in PICTURES:
            sock.sendall(part(jpeg))
            times.append(time.monotonic())
            time.sleep(0.5)
        hold(sock)

    error = failure_of(slow, timeout=0.1)
    assert re.search("has sent nothing for 1[.]5[0-9]? s", error.message)
    assert 1.4 < time.monotonic() - times[-1] < patience(3)


# a stream that was one
BEGUN = header() + part(PICTURES[1])


def card(jpeg: bytes) -> bytes:
    """Return the part that a pi_cam_daemon without a camera sends."""
    first = f"--{BOUNDARY}\r\n".encode()
    return part(jpeg).replace(first, first + b"X-No-Picture: lost\r\n")


def test_unusable_pictures_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), serving(paced(BEGUN, part(PICTURES[0][:-300]))) as server:
        with running(server.url("/video;pwd=s3cret")):
            until("the second round of pictures", lambda: caplog.messages)
            time.sleep(0.3)
        (line,) = caplog.messages
        assert line.startswith(f"{server.place}/video;***: 1 bad pictures so far, the last one because ")


@pytest.mark.parametrize(
    "answer",
    [
        paced(b"HTTP/1.1 200 OK\r\n", b"X", b"-", b"Y", pause=0.1),
        paced(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause=0.1),
        paced(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.1),
        paced(header("text/html"), b"<p>wait</p>", pause=0.1),
        paced(header(), card(PICTURES[0])),
    ],
    ids=["a header line", "header lines", "nothing but 100 Continue", "a web page", "cards"],
)
def test_the_source_sets_no_limit_for_the_first_picture(answer: Answer) -> None:
    with serving(answer) as server, running(server.url()) as source:
        source.thread.join(3)  # no longer: a header that drips on is too long at last
        assert source.thread.is_alive()
        assert not source.frames
        assert source.stop() < 1


def test_cards_between_the_pictures_are_left_out() -> None:
    assert pictures_of(paced(header(), *(card(PICTURES[0]) + part(jpeg) for jpeg in PICTURES))) == PICTURES


@pytest.mark.parametrize(
    "answer",
    [
        hold,
        then_silence(b"HTTP/1.1 200 OK\r\n"),
        then_silence(header()),
        then_silence(header("text/html") + b"<html>"),
        paced(header() + b"--frame\r\nContent-Type: text/plain\r\n\r\n", b"\0" * 4096, pause=0.001),
    ],
    ids=["silence", "half a header", "no part", "half a page", "rubbish"],
)
def test_a_stop_is_obeyed_within_a_second_whatever_the_server_does(answer: Answer) -> None:
    with serving(answer) as server, running(server.url(), timeout=30) as source:
        until("a request", lambda: server.requests)
        time.sleep(0.3)  # the answer is on its way, or not
        assert source.stop() < 1
        until("the connection is closed", lambda: server.open == 0)
        assert not [thread for thread in threading.enumerate() if thread.name == "receiver"]


# --- rubbish


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (paced(header(), b"--frame\r\n" + b"X: y\r\n" * 1000, *[b"X: y\r\n" * 1000] * 20, pause=0), "64 KiB"),
        (paced(header(), b"--frame\r\nContent-Type: image/jpeg\r\n\r\n", *[b"\0" * 65536] * 200, pause=0), "8 MiB"),
        (once(header(f"multipart/x-mixed-replace; boundary={'x' * 300}")), "boundary has 300 characters"),
    ],
)
def test_a_response_that_is_no_stream_is_refused_with_the_reason(answer: Answer, what: str) -> None:
    error = failure_of(answer)
    assert what in error.message
    assert error.cause is Cause.SETTINGS


# --- answers that are no stream


@pytest.mark.parametrize(
    "body",
    [
        b"<html><h1>DroidCam is Busy</h1></html>",
        b"DroidCam is Busy",
        b"<html>\xff<b>DROIDCAM</b>\nis <i>busy</i>: wait",
    ],
)
@pytest.mark.parametrize("ends", [True, False])
def test_a_busy_phone_is_reported_as_busy(body: bytes, ends: bool) -> None:
    error = failure_of((once if ends else then_silence)(header("text/html; charset=utf-8") + body))
    assert error.cause is Cause.BUSY
    assert error.message == "The phone's camera is in use by another viewer"


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (
            once(header("text/html") + b"<!doctype html><title> DroidCam\nWebcam </title><img src=/video></html>"),
            'a web page, "DroidCam Webcam"',
        ),
        (once(header("text/html") + b"BusyBox httpd"), "a web page"),
        (once(header("text/html") + b'<div aria-busy="false">The camera is busy</div>'), "a web page"),
        (paced(header("text/html"), b"<p>x</p>" * 1000, pause=0), "a web page"),
        (once(header("image/jpeg", f"Content-Length: {len(PICTURES[0])}") + PICTURES[0]), "one picture"),
        (once(header("application/octet-stream")), "application/octet-stream"),
        (once(b"HTTP/1.1 200 OK\r\n\r\n"), "data of no stated type"),
        (once(header("multipart/x-mixed-replace")), "a stream without a boundary"),
        (once(header("multipart/x-mixed-replace; boundary=b", "Content-Encoding: gzip")), "gzip"),
    ],
)
def test_an_answer_that_is_no_stream_is_described(answer: Answer, what: str) -> None:
    error = failure_of(answer)
    assert error.cause is Cause.SETTINGS
    assert what in error.message
    assert "not an MJPEG stream" in error.message
    assert "upstream.url" in error.hint
    assert "/video" in error.hint and "/stream" in error.hint


@pytest.mark.parametrize(
    ("code", "cause", "named"),
    [
        (401, Cause.PERMISSION, "401 Unauthorized"),
        (403, Cause.PERMISSION, "403 Forbidden"),
        (404, Cause.MISSING, "404 Not Found"),
        (500, Cause.LOST, "500 Internal Server Error"),
        (503, Cause.BUSY, "503 Service Unavailable"),
        (204, Cause.LOST, "204 No Content"),
        (299, Cause.LOST, "299"),
    ],
)
def test_an_error_status_is_named(code: int, cause: Cause, named: str) -> None:
    error = failure_of(status(code))
    assert error.cause is cause
    assert error.message.endswith(f"answers {named}")
    if code == 404:
        assert "/video" in error.hint


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (once(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not speak HTTP"),
        (once(b"\0\1\2\n"), "does not speak HTTP"),
        (once(b"HTTP/1.1 200 OK\r\nX" * 9), "sends data of no stated type"),
    ],
)
def test_another_protocol_is_reported(answer: Answer, what: str) -> None:
    error = failure_of(answer)
    assert error.cause is Cause.SETTINGS
    assert what in error.message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_ipv6_address_needs_no_port(scheme: str) -> None:
    error = Upstream(f"{scheme}://[::1]/").failure()
    assert error.message.startswith("[::1]"), "its last group was taken for a port"


def test_a_server_that_hangs_up_is_reported() -> None:
    error = failure_of(once(b""))
    assert error.cause is Cause.LOST
    assert "without an answer" in error.message


def test_a_refused_connection_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
    error = Upstream(f"http://{place}/video").failure()
    assert (error.cause, error.message) == (Cause.MISSING, f"{place} refuses the connection")


def test_a_connection_that_is_never_accepted_is_reported() -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # the kernel drops what the queue has no room for
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        error = Upstream(f"http://127.0.0.1:{full.getsockname()[1]}/").failure()
    assert error.cause is Cause.MISSING
    assert "does not answer" in error.message


@pytest.mark.parametrize("host", ["no-such-camera.invalid", "x" * 80])
def test_an_unknown_name_is_reported(host: str) -> None:
    error = Upstream(f"http://{host}/").failure(60)
    assert error.cause is Cause.MISSING
    assert host in error.message


def test_a_missing_url_is_reported() -> None:
    error = Upstream("").failure()
    assert error.cause is Cause.SETTINGS
    assert "upstream.url" in error.hint


# --- redirects and passwords


def redirect(location: str, code: int = 302) -> Answer:
    return status(code, f"Location: {location}")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/video", "video", "?x=%20 y"])
def test_a_redirect_is_followed(code: int, location: str) -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        (redirect(location, code) if request.path == "/start" else STREAM)(sock, request)

    with serving(answer) as server, running(server.url("/start")) as source:
        source.pictures(1)
        assert [request.path for request in server.requests] == [
            "/start",
            {"/video": "/video", "video": "/video", "?x=%20 y": "/start?x=%20%20y"}[location],
        ]


def test_redirects_in_a_circle_end() -> None:
    with serving(redirect("/round")) as server:
        error = Upstream(server.url()).failure()
        assert "in circles" in error.message
        assert len(server.requests) == 8


@pytest.mark.parametrize(
    "location",
    ["ftp://127.0.0.1/", "file:///etc/passwd", "http://[::1", "http://h:99999/", "http://h:pw@/", "//:80/"],
)
def test_an_invalid_redirect_is_reported_without_its_target(location: str) -> None:
    error = failure_of(redirect(location))
    assert "redirects to an address that cannot be used" in error.message
    assert "pw" not in error.message


def test_the_body_of_a_redirect_is_not_waited_for() -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        if request.path == "/stream":
            paced(b"HTTP/1.1 302 Found\r\nLocation: /video\r\n\r\n", b"\0" * 65536, pause=0)(sock, request)
        else:
            STREAM(sock, request)

    assert pictures_of(answer, 1) == PICTURES[:1]


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def is_digest(request: Request, user: str, password: str) -> bool:
    """Return whether the digest is right by RFC 2617."""
    said = fields(request.headers.get("authorization", ""))
    if not said:
        return False
    assert said["uri"] == request.path
    secret = f"{md5(f'{user}:cam:{password}')}:{said['nonce']}"
    qop = f":{said['nc']}:{said['cnonce']}:auth" if "qop" in said else ""
    return said["response"] == md5(f"{secret}{qop}:{md5(f'GET:{request.path}')}")


DIGEST = 'Digest realm="cam", nonce="abc"'
CHALLENGES = {
    "basic": ['Basic realm="cam"'],
    "digest": ['Digest realm="cam", nonce="abc", qop="auth", algorithm=MD5, opaque="x"'],
    "digest of old": ['Digest realm="cam", nonce="abc"'],
    "digest behind basic": [f'Basic realm="cam", {DIGEST}, qop="auth"'],
    "digest of two kinds": [f'Digest realm="cam", nonce="z", algorithm=SHA-512, {DIGEST}, algorithm=md5'],
    "digest in small letters": ['digest Realm="cam" ,NONCE = "abc", algorithm="md5", qop="auth-int, auth"'],
    "digest with a comma": [f'{DIGEST}, opaque="a, Basic realm=b", qop=auth'],
    "basic behind another": ['Negotiate, Basic realm="cam"'],
    "basic behind a token": ['Negotiate YII=, Basic realm="cam"'],
    "digest last": ['Basic realm="cam"', 'Digest realm="cam", nonce="abc", qop="auth"'],
    "digest that is not known, too": ['Digest realm="cam", nonce="z", algorithm=SHA-512', 'Basic realm="cam"'],
}


@pytest.mark.parametrize("challenge", CHALLENGES)
@pytest.mark.parametrize(("user", "quoted"), [("me:s3cret", "me:s3cret"), ("m@e:p/a:s#?s", "m%40e:p%2Fa:s%23%3Fs")])
def test_a_password_in_the_url_logs_in(challenge: str, user: str, quoted: str) -> None:
    name, _, password = user.partition(":")

    def answer(sock: socket.socket, request: Request) -> None:
        said = request.headers.get("authorization", "")
        if (
            said == basic(name, password)
            if challenge.startswith(("basic", "digest that"))
            else is_digest(request, name, password)
        ):
            STREAM(sock, request)
        else:
            status(401, *(f"WWW-Authenticate: {line}" for line in CHALLENGES[challenge]))(sock, request)

    with serving(answer) as server, running(server.url("/cam/stream?a=b", quoted)) as source:
        source.pictures(1)
        assert len(server.requests) == 2
        assert source.info.name == f"{server.place}/cam/stream"


def test_a_password_in_the_path_is_not_shown() -> None:
    with serving(STREAM) as server, running(server.url("/video;user=me;pwd=s3cret?x")) as source:
        source.pictures(1)
        assert source.info.name == f"{server.place}/video;***"
        assert server.requests[0].path == "/video;user=me;pwd=s3cret?x"


@pytest.mark.parametrize("path", ["", "?a=b", "/a;b?c#d"])
def test_a_digest_covers_the_requested_uri(path: str) -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        allowed = is_digest(request, "me", "s3cret")
        (STREAM if allowed else status(401, f"WWW-Authenticate: {DIGEST}"))(sock, request)

    with serving(answer) as server, running(server.url(path, "me:s3cret")) as source:
        source.pictures(1)


@pytest.mark.parametrize("user", ["m%0d%0ae:s3cret", "me%0a:s3cret"])
def test_a_user_name_that_fits_no_header_is_reported_without_it(user: str) -> None:
    with serving(status(401, f"WWW-Authenticate: {DIGEST}")) as server:
        error = Upstream(server.url("/", user)).failure()
        assert error.cause is Cause.SETTINGS
        assert "characters that HTTP cannot send" in error.message
        assert "username" not in error.message + error.hint
        assert error.__cause__ is None and error.__suppress_context__


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_a_wrong_password_is_tried_once_and_reported(challenge: str) -> None:
    refuse = status(401, *(f"WWW-Authenticate: {line}" for line in CHALLENGES[challenge]))
    with serving(refuse) as server:
        error = Upstream(server.url("/", "me:s3cret")).failure()
        assert error.cause is Cause.PERMISSION
        assert "user and password" in error.hint
        assert len(server.requests) == 2
        assert "s3cret" not in error.message + error.hint


@pytest.mark.parametrize("lines", [[], ["Negotiate"], ["Digest"], ["Digest realm="], ["Bearer x", ""]])
def test_an_unknown_authentication_scheme_is_reported(lines: list[str]) -> None:
    with serving(status(401, *(f"WWW-Authenticate: {line}" for line in lines))) as server:
        error = Upstream(server.url("/", "me:s3cret")).failure()
        assert error.cause is Cause.PERMISSION
        assert "method that is not supported" in error.message


@pytest.mark.parametrize("challenge", ["basic", "digest"])
@pytest.mark.parametrize("first", [False, True], ids=["redirected at once", "redirected after the login"])
def test_a_password_never_goes_to_another_server(challenge: str, first: bool) -> None:
    refuse = status(401, *(f"WWW-Authenticate: {line}" for line in CHALLENGES[challenge]))
    with serving(refuse) as other:

        def answer(sock: socket.socket, request: Request) -> None:
            (refuse if first and "authorization" not in request.headers else redirect(other.url()))(sock, request)

        with serving(answer) as server:
            error = Upstream(server.url("/", "me:s3cret")).failure()
            assert error.cause is Cause.PERMISSION
            assert other.place in error.message
            assert "redirected" in error.hint
        assert len(other.requests) == 1
        assert "authorization" not in other.requests[0].headers


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem"


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


def test_a_stream_over_tls_is_read(tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(STREAM, tls) as server, running(server.url()) as source:
        # a busy machine may decrypt two at once, and then only the newer one is delivered
        assert set(source.pictures(3)) <= set(PICTURES)
        assert source.stop() < 1


def test_an_untrusted_certificate_is_reported(tls: ssl.SSLContext) -> None:
    with serving(STREAM, tls) as server:
        error = Upstream(server.url("/", "me:s3cret")).failure()
        assert error.cause is Cause.PERMISSION
        assert "certificate is not trusted" in error.message
        assert not server.requests


def test_a_server_without_tls_is_reported() -> None:
    with serving(STREAM) as server:
        error = Upstream(f"https://{server.place}/").failure()
        assert error.cause is Cause.SETTINGS
        assert "no TLS connection" in error.message


def test_a_password_for_https_is_not_sent_without_tls(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    refuse = status(401, f"WWW-Authenticate: {CHALLENGES['basic'][0]}")
    with serving(refuse) as plain, serving(redirect(plain.url()), tls) as server:
        error = Upstream(server.url("/", "me:s3cret")).failure()
        assert error.cause is Cause.PERMISSION
        assert [request.headers.get("authorization") for request in plain.requests] == [None]
