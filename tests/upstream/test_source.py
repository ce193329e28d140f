"""UpstreamSource against servers that behave as real ones were seen to, and worse."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pi_cam_daemon.camera import upstream
from pi_cam_daemon.camera.http_response import Response
from pi_cam_daemon.camera.source import Source
from pi_cam_daemon.camera.upstream import UpstreamSource
from pi_cam_daemon.config.schema import UpstreamConfig, VideoConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.imaging import exif
from pi_cam_daemon.ipc import pace
from pi_cam_daemon.ipc.messages import CameraInfo
from tests.kit import sources as kit
from tests.kit.lateness import patience
from tests.kit.sources import SMALL, LosableSourceContract, Run, video
from tests.kit.wait import until
from tests.kit.wire import basic
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

    def __init__(self, url: str, timeout: float = 1.0, fingerprint: str = "") -> None:
        self.source = UpstreamSource(video(framerate=25.0), UpstreamConfig(url, timeout, fingerprint), SMALL)
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
def running(url: str, timeout: float = 1.0, fingerprint: str = "") -> Iterator[Upstream]:
    run = Upstream(url, timeout, fingerprint)
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
        return UpstreamSource(settings, UpstreamConfig(self.server.url(), 1.0, ""), SMALL)

    def lose(self) -> None:
        self.server.hang_up()


def pictures_of(answer: Answer, count: int = 3) -> list[bytes]:
    with serving(answer) as server, running(server.url()) as source:
        return source.pictures(count)


def failure_of(answer: Answer, timeout: float = 1.0, seconds: float = 10.0) -> SourceError:
    with serving(answer) as server:
        error = Upstream(server.url(), timeout).failure(seconds)
        assert server.place in error.message or error.cause is Cause.BUSY
        assert error.values["address"] == server.place
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
        assert source.stop() < patience(1)
        until("the connection is closed", lambda: server.open == 0)


def test_the_size_may_change_in_a_stream() -> None:
    sizes = [picture(1, 64, 48), picture(2, 32, 32), picture(3, 128, 16)]
    assert pictures_of(paced(header(), *map(part, sizes))) == sizes


def test_pictures_that_lack_only_their_end_marker_get_one() -> None:
    # a busy machine may take two at once, and then only the newer one is delivered
    assert set(pictures_of(paced(header(), *(part(jpeg[:-2]) for jpeg in PICTURES)), 12)) == set(PICTURES)


def test_the_newest_of_pictures_that_come_too_fast_is_passed_on() -> None:
    burst = b"".join(part(picture(number)) for number in range(200))
    with serving(then_silence(header() + burst)) as server, running(server.url()) as source:
        until("the last picture", lambda: source.frames and source.frames[-1][0] == picture(199))
        assert len(source.frames) < 200


# --- single pictures


def one_picture(*lines: str) -> bytes:
    """Return an answer with one picture, whose length is given."""
    return header("image/jpeg", f"Content-Length: {len(PICTURES[0])}", *lines) + PICTURES[0]


def next_request(sock: socket.socket) -> bytes:
    """Return the next request of a connection, or nothing at its end."""
    data = b""
    while not data.endswith(b"\r\n\r\n") and (more := sock.recv(4096)):
        data += more
    return data


IN_CHUNKS = b"%s%x\r\n%s\r\n0\r\n" % (
    header("image/jpeg", "Transfer-Encoding: chunked"),
    len(PICTURES[0]),
    PICTURES[0],
)


@pytest.mark.parametrize("sent", [one_picture(), one_picture() + b"\r\n", IN_CHUNKS + b"\r\n"])
def test_single_pictures_are_asked_for_on_one_connection_at_the_rate_of_the_video(sent: bytes) -> None:
    times: list[float] = []

    def answer(sock: socket.socket, _: Request) -> None:
        times.append(time.monotonic())
        sock.sendall(sent)
        while next_request(sock):
            times.append(time.monotonic())
            sock.sendall(sent)

    with serving(answer) as server, running(server.url("/snapshot.jpg")) as source:
        assert source.pictures(8) == PICTURES[:1] * 8
        assert len(server.connections) == 1
        assert times[7] - times[0] > 0.9 * 7 / 25
        assert source.stop() < patience(1)


@pytest.mark.parametrize(
    "sent", [one_picture("Connection: close"), one_picture("X: it closes without a word"), IN_CHUNKS + b"X: y\r\n\r\n"]
)
def test_single_pictures_on_connections_that_close_come_one_after_the_other(sent: bytes) -> None:
    with serving(once(sent)) as server, running(server.url()) as source:
        assert source.pictures(4) == PICTURES[:1] * 4
        assert server.most_open == 1


@pytest.mark.parametrize(
    "failed",
    [
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"",
        header("text/html") + b"<title>Busy</title>",
        header("image/jpeg", "Content-Length: 0"),
    ],
    ids=["503", "304", "hangs up", "page", "empty"],
)
def test_one_failure_among_single_pictures_is_passed_over(failed: bytes) -> None:
    def answer(sock: socket.socket, _: Request) -> None:
        sock.sendall(failed if len(server.requests) == 3 else one_picture())

    with serving(answer) as server, running(server.url()) as source:
        assert len(source.pictures(4)) == 4
        assert server.requests[3].arrived - server.requests[2].arrived > 0.4


def test_a_slow_picture_delays_the_next_request() -> None:
    under_way: list[int] = []
    most = 0

    def answer(sock: socket.socket, _: Request) -> None:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        time.sleep(0.2)
        under_way.pop()
        sock.sendall(one_picture())

    with serving(answer) as server, running(server.url()) as source:
        source.pictures(4)
        assert most == 1


def test_single_pictures_that_cease_are_reported() -> None:
    answers = itertools.chain([once(one_picture())] * 2, itertools.repeat(status(503)))
    with serving(lambda sock, request: next(answers)(sock, request)) as server:
        source = Upstream(server.url())
        assert source.failure().message == f"{server.place} answers 503 Service Unavailable"
        assert len(source.frames) == 2


def test_a_cut_single_picture_is_refused_with_the_reason() -> None:
    with serving(once(one_picture()[:-9])) as server, running(server.url()) as source:
        until("the reason", lambda: any("cut short" in why for why in source.complaints))
        assert not source.frames


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


@pytest.mark.parametrize(
    "said", [header(), header("image/jpeg"), header() + part(PICTURES[0]), header() + part(PICTURES[0])[:-50]]
)
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
    seconds = re.search("has sent nothing for ([0-9.]+) s", error.message)
    assert seconds and 1.5 <= float(seconds[1]) < patience(1.6)
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
        assert source.stop() < patience(1)


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
        paced(header() + b"\xff\xd8", b"\xff\xe0\0\4\xff\xd8" * 9999, pause=0),
    ],
    ids=["silence", "half a header", "no part", "half a page", "rubbish", "a chain of starts"],
)
def test_a_stop_is_obeyed_within_a_second_whatever_the_server_does(answer: Answer) -> None:
    with serving(answer) as server, running(server.url(), timeout=30) as source:
        until("a request", lambda: server.requests)
        time.sleep(0.3)  # the answer is on its way, or not
        assert source.stop() < patience(1)
        until("the connection is closed", lambda: server.open == 0)
        assert not [thread for thread in threading.enumerate() if thread.name == "receiver"]


def test_a_stop_frees_a_server_that_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the receiver read between shutdown and close: with nothing left unread, Linux resets nothing by itself."""
    full, shut_down = threading.Event(), threading.Event()
    shut, read = upstream._Receiver._shut_down, Response.read

    def watched(receiver: upstream._Receiver) -> None:
        shut(receiver)
        if receiver._closing:
            shut_down.set()

    def late(response: Response) -> bytes:
        shut_down.wait(patience(10))
        while read(response):
            pass
        return b""

    def flood(sock: socket.socket, _: Request) -> None:
        sock.sendall(header())
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(bytes(1 << 20))
        sock.settimeout(patience(60))
        full.set()
        sock.sendall(bytes(1 << 20))

    monkeypatch.setattr(upstream._Receiver, "_shut_down", watched)
    monkeypatch.setattr(Response, "read", late)
    with serving(flood) as server, running(server.url(), timeout=30) as source:
        assert full.wait(patience(10))
        source.stop()
        until("the server is free", lambda: server.open == 0, 2.0)


# --- rubbish


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (paced(header() + b"--frame\r\n\r\n" + PICTURES[0][:-2], *[b"\0" * 65536] * 200, pause=0), "8 MiB"),
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
        (once(header("application/octet-stream")), "application/octet-stream"),
        (once(b"HTTP/1.1 200 OK\r\n\r\n"), "data of no stated type"),
        (once(header("multipart/x-mixed-replace; boundary=b", "Content-Encoding: br")), "compressed data (br)"),
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


def link_local() -> tuple[str, str]:
    """Return a link-local address of this machine and its interface; nothing if there is none."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, *_, interface = line.split()
        if digits.startswith("fe80"):
            return ":".join(digits[at : at + 4] for at in range(0, 32, 4)), interface
    return "", ""


@pytest.mark.skipif(not link_local()[0], reason="this machine has no link-local address")
@pytest.mark.parametrize("sign", ["%", "%25"])
def test_a_link_local_address_with_its_zone_is_reached(sign: str) -> None:
    address, interface = link_local()
    infos = socket.getaddrinfo(f"{address}%{interface}", 0, type=socket.SOCK_STREAM)
    listener = socket.create_server(infos[0][4], family=socket.AF_INET6)
    url = f"http://[{address}{sign}{interface}]:{listener.getsockname()[1]}/video"
    with serving(STREAM, listener=listener) as server, running(url) as source:
        source.pictures(1)
        assert server.requests[0].headers["host"] == f"[{address}]:{server.port}"


@pytest.mark.parametrize("sign", ["%", "%25"])
def test_an_unknown_zone_is_named(sign: str) -> None:
    error = Upstream(f"http://[fe80::1{sign}nosuch0]:8080/video").failure()
    assert error.cause is Cause.MISSING
    assert 'no network interface "nosuch0"' in error.message


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


@pytest.mark.parametrize(
    ("code", "location"),
    [
        (301, "/video"),
        (302, "/video"),
        (303, "/video"),
        (307, "/video"),
        (308, "/video"),
        (302, "video"),
        (302, "?x=%20 y"),
    ],
)
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


@pytest.mark.parametrize(
    ("given", "path", "sent"),
    [
        (["sid=1"], "/video", "sid=1"),
        (["sid=1; Path=/; HttpOnly; SameSite=Lax", "b=2"], "/video", "sid=1; b=2"),
        (["sid=1; Path=/cam"], "/cam/video", "sid=1"),
        (["sid=1; Path=/other"], "/video", None),
        (["sid=1; Secure"], "/video", None),
        (["sid=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "/video", None),
        (["sid=1; Max-Age=0"], "/video", None),
        (["sid=1; Expires=Fri, 31-Dec-2038 23:59:59 GMT"], "/video", "sid=1"),
        (["sid=1; Domain=elsewhere.example"], "/video", None),
        (["sid=1", "sid=2"], "/video", "sid=2"),
        (["rubbish", "=", ";;"], "/video", "rubbish"),
        (["sid=1; Expires=Fri, 31-Dec-99999 23:59:59 GMT", "b=2"], "/video", "sid=1; b=2"),
    ],
)
def test_cookies_are_sent_back_where_they_belong(given: list[str], path: str, sent: str | None) -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        cookies = (f"Set-Cookie: {line}" for line in given)
        (status(302, *cookies, f"Location: {path}") if request.path == "/stream" else STREAM)(sock, request)

    with serving(answer) as server, running(server.url()) as source:
        source.pictures(1)
        got = server.requests[1].headers.get("cookie")
        assert (got and sorted(got.split("; "))) == (sent and sorted(sent.split("; "))), got


def test_a_login_by_cookie_and_redirect_to_the_same_address_works() -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        knows = "sid=s3cret" in request.headers.get("cookie", "")
        (STREAM if knows else status(302, "Set-Cookie: sid=s3cret", "Location: /stream"))(sock, request)

    assert pictures_of(answer, 1) == PICTURES[:1]


def test_cookies_and_passwords_do_not_go_to_another_host() -> None:
    with serving(STREAM) as other:

        def answer(sock: socket.socket, request: Request) -> None:
            if "authorization" in request.headers:
                status(302, "Set-Cookie: sid=1", f"Location: //localhost:{other.port}/video")(sock, request)
            else:
                status(401, 'WWW-Authenticate: Basic realm="cam"')(sock, request)

        with serving(answer) as server, running(server.url("/", "me:s3cret")) as source:
            source.pictures(1)
            (request,) = other.requests
            assert not {"cookie", "authorization"} & set(request.headers)
            assert request.headers["host"] == f"localhost:{other.port}"


def is_digest(request: Request, user: str, password: str, realm: str = "cam", hashed: str = "md5") -> bool:
    """Return whether the digest is right by RFC 7616."""
    said = fields(request.headers.get("authorization", ""))
    if not said:
        return False
    assert said["uri"] == request.path

    def digest(*parts: str) -> str:
        return hashlib.new(hashed, ":".join(parts).encode()).hexdigest()

    secret = digest(user, realm, password)
    if said.get("algorithm", "").lower().endswith("-sess"):
        secret = digest(secret, said["nonce"], said["cnonce"])
    body = [digest("")] if said.get("qop") == "auth-int" else []
    qop = [said["nc"], said["cnonce"], said["qop"]] if "qop" in said else []
    return said["response"] == digest(secret, said["nonce"], *qop, digest("GET", request.path, *body))


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


@pytest.mark.parametrize(
    ("challenge", "user", "quoted"),
    [
        *((challenge, "me:s3cret", "me:s3cret") for challenge in CHALLENGES),
        *((challenge, "m@e:p/a:s#?s", "m%40e:p%2Fa:s%23%3Fs") for challenge in ("basic", "digest")),
    ],
)
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


@pytest.mark.parametrize(
    ("algorithm", "qop"),
    [
        ("MD5", 'qop="auth"'),
        ("MD5", 'qop="auth,auth-int"'),
        ("MD5", ""),
        ("MD5-sess", "qop=auth-int"),
        ("SHA-256", "qop=auth-int"),
        ("SHA-256-sess", 'qop="auth"'),
        ("sha256", ""),
        ("SHA-512-256", 'qop="auth"'),
        ("SHA-512/256", "qop=auth-int"),
    ],
)
def test_every_algorithm_of_digest_logs_in(algorithm: str, qop: str) -> None:
    hashed = {"md5": "md5", "sha256": "sha256"}.get(re.sub("-(sess)?", "", algorithm.lower()), "sha512_256")
    challenge = f'Digest realm="cam", nonce="abc", algorithm={algorithm}, opaque="x" {qop and ", " + qop}'

    def answer(sock: socket.socket, request: Request) -> None:
        allowed = is_digest(request, "me", "pässwörd", hashed=hashed)
        (STREAM if allowed else status(401, f"WWW-Authenticate: {challenge}"))(sock, request)

    with serving(answer) as server, running(server.url("/", "me:p%C3%A4ssw%C3%B6rd")) as source:
        source.pictures(1)


def test_a_server_that_calls_each_nonce_stale_is_given_up() -> None:
    with serving(status(401, f"WWW-Authenticate: {DIGEST}, stale=true")) as server:
        assert "asks for a login again and again" in Upstream(server.url("/", "me:s3cret")).failure().message


@pytest.mark.parametrize("login", ["", "me:s3cret"])
def test_a_server_that_repeats_the_request_shows_no_secret(login: str) -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        authorization = request.headers.get("authorization", "")
        if login and not authorization:
            status(401, 'WWW-Authenticate: Basic realm="cam"')(sock, request)
        else:
            sock.sendall(f"{authorization} GET {request.path}\r\n\r\n".encode())

    with serving(answer) as server:
        error = Upstream(server.url("/?pwd=s3cret", login)).failure()
        assert "does not speak HTTP" in error.message
        assert not any(secret in error.message for secret in ("s3cret", "Basic"))


def test_a_realm_with_quotes_is_hashed_without_their_escapes() -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        allowed = is_digest(request, "me", "s3cret", realm='the "cam", here')
        line = r'WWW-Authenticate: Digest realm="the \"cam\", here", nonce="abc", qop="auth"'
        (STREAM if allowed else status(401, line))(sock, request)

    with serving(answer) as server, running(server.url("/", "me:s3cret")) as source:
        source.pictures(1)


def test_a_password_that_is_not_ascii_is_sent_as_utf_8() -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        allowed = request.headers.get("authorization") == basic("mé", "pässwörd")
        (STREAM if allowed else status(401, 'WWW-Authenticate: Basic realm="cam"'))(sock, request)

    with serving(answer) as server, running(server.url("/", "m%C3%A9:p%C3%A4ssw%C3%B6rd")) as source:
        source.pictures(1)


@pytest.mark.parametrize("lines", [[], [""]])
def test_basic_is_tried_once_where_no_method_is_named(lines: list[str]) -> None:
    refuse = status(401, *(f"WWW-Authenticate: {line}" for line in lines))

    def answer(sock: socket.socket, request: Request) -> None:
        (STREAM if request.headers.get("authorization") == basic("me", "s3cret") else refuse)(sock, request)

    with serving(answer) as server, running(server.url("/", "me:s3cret")) as source:
        source.pictures(1)
    with serving(refuse) as server:
        assert "user and password" in Upstream(server.url("/", "me:s3cret")).failure().hint
        assert len(server.requests) == 2


@pytest.mark.parametrize("line", ["stale=true", "stale=TRUE", 'x="the server forgets to say so"'])
def test_a_nonce_that_expires_between_single_pictures_is_renewed(line: str) -> None:
    nonces = (f"nonce{number}" for number in range(99))
    current = [next(nonces)]

    def answer(sock: socket.socket, request: Request) -> None:
        said = fields(request.headers.get("authorization", ""))
        if said.get("nonce") == current[0] and is_digest(request, "me", "s3cret"):
            if said["nc"] == "00000003":
                current[0] = next(nonces)
            once(one_picture())(sock, request)
        else:
            challenge = f'Digest realm="cam", nonce="{current[0]}", qop="auth", {line}'
            status(401, f"WWW-Authenticate: {challenge}")(sock, request)

    with serving(answer) as server, running(server.url("/", "me:s3cret")) as source:
        source.pictures(9)


def test_the_next_nonce_of_the_server_is_used() -> None:
    def answer(sock: socket.socket, request: Request) -> None:
        said = fields(request.headers.get("authorization", ""))
        if said.get("nonce") == f"n{len(server.requests) - 1}" and is_digest(request, "me", "s3cret"):
            once(one_picture(f'Authentication-Info: nextnonce="n{len(server.requests)}"'))(sock, request)
        else:
            status(401, f'WWW-Authenticate: Digest realm="cam", nonce="n{len(server.requests)}"')(sock, request)

    with serving(answer) as server, running(server.url("/", "me:s3cret")) as source:
        source.pictures(5)
        assert sum("authorization" not in request.headers for request in server.requests) == 1


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


@pytest.mark.parametrize("challenge", ["basic", "digest", "digest last", "digest that is not known, too"])
def test_a_wrong_password_is_tried_once_and_reported(challenge: str) -> None:
    refuse = status(401, *(f"WWW-Authenticate: {line}" for line in CHALLENGES[challenge]))
    with serving(refuse) as server:
        error = Upstream(server.url("/", "me:s3cret")).failure()
        assert error.cause is Cause.PERMISSION
        assert "user and password" in error.hint
        assert len(server.requests) == 2
        assert "s3cret" not in error.message + error.hint


@pytest.mark.parametrize("lines", [["Negotiate"], ["Digest"], ["Digest realm="], ["Bearer x", ""]])
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
        assert source.stop() < patience(1)


def test_an_untrusted_certificate_is_reported(tls: ssl.SSLContext) -> None:
    with serving(STREAM, tls) as server:
        error = Upstream(server.url("/", "me:s3cret")).failure()
        assert error.cause is Cause.PERMISSION
        assert "certificate is not trusted" in error.message
        assert not server.requests


def fingerprint(certificate: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


def test_an_untrusted_certificate_is_reported_with_its_fingerprint(tls: ssl.SSLContext, certificate: Path) -> None:
    with serving(STREAM, tls) as server:
        error = Upstream(server.url("/", "me:s3cret")).failure()
        assert fingerprint(certificate) in error.hint and "upstream.tls_fingerprint" in error.hint


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_with_the_configured_fingerprint_is_accepted(
    tls: ssl.SSLContext, certificate: Path, host: str
) -> None:
    with (
        serving(STREAM, tls) as server,
        running(f"https://{host}:{server.port}/", fingerprint=fingerprint(certificate)) as source,
    ):
        source.pictures(1)


def test_an_old_camera_with_ciphers_of_its_time_is_read(tls: ssl.SSLContext, certificate: Path) -> None:
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("ECDHE-ECDSA-AES128-SHA")
    with serving(STREAM, tls) as server:
        assert fingerprint(certificate) in Upstream(server.url()).failure().hint
        with running(server.url(), fingerprint=fingerprint(certificate)) as source:
            source.pictures(1)


def test_a_tls_that_is_too_old_is_named(tls: ssl.SSLContext) -> None:
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        tls.maximum_version = ssl.TLSVersion.TLSv1
        tls.minimum_version = ssl.TLSVersion.TLSv1
    with serving(STREAM, tls) as server:
        error = Upstream(server.url()).failure()
        assert error.message.startswith(f"{server.place}: no TLS connection: ")
        assert error.hint == "It may need an older TLS than 1.2"


def test_a_trusted_certificate_with_another_fingerprint_is_refused(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(STREAM, tls) as server:
        source = Upstream(server.url("/", "me:s3cret"), fingerprint="00" * 32)
        error = source.failure()
        assert error.cause is Cause.PERMISSION
        assert error.message == f"{server.place}: its certificate has the fingerprint {fingerprint(certificate)}"
        assert "upstream.tls_fingerprint" in error.hint
        assert not server.requests


def test_a_fingerprint_also_holds_behind_a_redirect_to_https(tls: ssl.SSLContext, certificate: Path) -> None:
    with (
        serving(STREAM, tls) as encrypted,
        serving(redirect(encrypted.url())) as server,
        running(server.url(), fingerprint=fingerprint(certificate)) as source,
    ):
        source.pictures(1)


def test_a_fingerprint_opens_no_other_host(tls: ssl.SSLContext, certificate: Path) -> None:
    with serving(STREAM, tls) as other, serving(redirect(f"https://localhost:{other.port}/")) as server:
        error = Upstream(server.url(), fingerprint=fingerprint(certificate)).failure()
        assert "certificate is not trusted" in error.message


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


# --- masks


@pytest.mark.parametrize("mark", range(1, 9))
def test_a_picture_with_a_mark_is_masked_as_people_see_it(mark: int) -> None:
    pixels = np.full((64, 96, 3), 200, np.uint8)
    plain = cv2.imencode(".jpg", pixels)[1].tobytes()
    marked = plain[:2] + exif.segment(mark) + plain[2:]
    settings = video(masks=[[0.0, 0.0, 0.5, 0.25]], rotation=90)
    with serving(paced(header(), *[part(marked)] * 50)) as server:
        source = UpstreamSource(settings, UpstreamConfig(server.url(), 1.0, ""), SMALL)
        with kit.running(source) as run:
            data = run.wait_for_frames(1)[0][0]
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = shown.shape
    assert (height > width) == (mark < 5)
    assert shown[: height // 4, : width // 2].max() < 20
    assert min(shown[: height // 4, width // 2 + 17 :].min(), shown[height // 4 + 17 :].min()) > 180
