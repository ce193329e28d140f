"""Valid and invalid requests to the daemon: each gets a whole answer and disturbs no other client."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading, read_all

SMALL = {"video.width": 320, "video.height": 240}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests, which must serve the next request after each."""
    settings = {
        **SMALL,
        "http.allowed_hosts": ["camera.example"],
        "http.cors_origins": ["http://octopi.local"],
        "http.frame_ancestors": ["http://home.example:8123"],
    }
    with running(tmp_path_factory.mktemp("daemon"), settings) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon
        assert "Traceback" not in daemon.log()


def answer(daemon: Daemon, request: str | bytes) -> bytes:
    """Return everything that is answered until the server closes; a reset raises OSError."""
    data = request if isinstance(request, bytes) else request.encode("latin-1")
    with socket.create_connection(("127.0.0.1", daemon.port), 10) as sock:
        sock.sendall(data)
        return read_all(sock)


def status(received: bytes) -> int:
    match = re.match(rb"HTTP/1\.[01] (\d{3}) [A-Za-z -]+\r\nConnection: close\r\n", received)
    assert match, received[:200]
    assert b"Server:" not in received and b"Python" not in received
    return int(match[1])


CLOSE = "Connection: close\r\n"
CASES = [
    ("GET / HTTP/1.1\r\n" + CLOSE, 200),
    ("GET / HTTP/1.0\r\n", 200),
    ("GET /snapshot HTTP/1.1\r\nHost: [::1]:8000\r\n" + CLOSE, 200),
    ("GET /snapshot HTTP/1.1\r\nHost: CAMERA.example.:1\r\n" + CLOSE, 200),
    ("GET /?a&b=&=c&%00=%0d%0a HTTP/1.1\r\n" + CLOSE, 200),
    ("GET http://camera.example/livez HTTP/1.1\r\n" + CLOSE, 200),
    ("GET /livez HTTP/1.1\r\nContent-Length: 2\r\n" + CLOSE + "\r\nab", 200),
    ("GET /stream?fps=0 HTTP/1.1\r\n", 400),
    ("HEAD /stream?fps=1_0 HTTP/1.1\r\n", 400),
    ("GET /snapshot?max_age_ms=%201 HTTP/1.1\r\n", 400),
    ("GET /snapshot?max_age_ms=%D9%A1 HTTP/1.1\r\n", 400),
    ("GET /snapshot?max_age_ms=" + "1" * 8000 + "x HTTP/1.1\r\n", 400),
    ("GET /snapshot?max_age_ms=1.5E3 HTTP/1.1\r\n" + CLOSE, 200),
    ("GET /snapshot?max_age_ms=-1 HTTP/1.1\r\n", 400),
    ("GET /\r\n", 400),
    ("hello\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n", 400),
    ("GET / HTTP/1.1\r\nA: b\r\n c\r\n", 400),
    ("POST /state HTTP/1.1\r\nContent-Length: -1\r\n", 400),
    ("POST /state HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("POST /state HTTP/1.1\r\nOrigin: http://attacker.example\r\n", 403),
    ("POST /state HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n", 403),
    ("GET / HTTP/1.1\r\nX-Forwarded-For: 192.168.1.5\r\n", 403),
    ("GET / HTTP/1.1\r\nForwarded: for=127.0.0.1\r\n", 403),
    ("GET /nowhere HTTP/1.1\r\n" + CLOSE, 404),
    ("GET /%2e%2e/%2fetc/passwd HTTP/1.1\r\n" + CLOSE, 404),
    ("POST /state HTTP/1.1\r\n" + CLOSE, 405),
    ("BREW / HTTP/1.1\r\n" + CLOSE, 501),
    ("DELETE / HTTP/1.1\r\n" + CLOSE, 405),
    ("POST /state HTTP/1.1\r\nOrigin: http://octopi.local\r\nContent-Length: 2\r\n" + CLOSE + "\r\n{}", 405),
    ("POST /state HTTP/1.1\r\nTransfer-Encoding: gzip\r\n", 501),
    ("POST /state HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CLOSE + "\r\n3\r\nabc\r\n0\r\n", 405),
    ("POST /state HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n", 413),
    ("GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CLOSE + "\r\n0\r\n", 200),
    ("GET //livez HTTP/1.1\r\n" + CLOSE, 200),
    ("GET http://camera.example?action=snapshot HTTP/1.1\r\n" + CLOSE, 200),
    ("OPTIONS * HTTP/1.1\r\n" + CLOSE, 200),
    ("GET /livez HTTP/1.1\r\nHost: host.docker.internal:8000\r\n" + CLOSE, 200),
    ("POST /state HTTP/1.1\r\nContent-Length: 999999999\r\n", 413),
    ("GET /" + "a" * 9000 + " HTTP/1.1\r\n", 414),
    ("a" * 9000, 414),
    ("GET / HTTP/1.1\r\nHost: attacker.example\r\n", 421),
    ("GET http://attacker.example/ HTTP/1.1\r\nHost: localhost\r\n", 421),
    ("GET / HTTP/1.1\r\n" + "a: b\r\n" * 4000, 431),
    ("GET / HTTP/1.1\r\nA: " + "b" * 70_000 + "\r\n", 431),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n", 505),
]


@pytest.mark.parametrize(("request_text", "expected"), CASES, ids=[repr(text[:60]) for text, _ in CASES])
def test_each_request_gets_its_status(daemon: Daemon, request_text: str, expected: int) -> None:
    assert status(answer(daemon, request_text + "\r\n")) == expected


EXPECTS = "POST /state HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n" + CLOSE


def test_a_client_that_may_ask_gets_100_continue(daemon: Daemon) -> None:
    with socket.create_connection(("127.0.0.1", daemon.port), 10) as sock:
        sock.sendall(EXPECTS.encode() + b"\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"{}")
        assert sock.recv(4096).startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Host: attacker.example\r\n", 421),
        ("Origin: http://attacker.example\r\n", 403),
        ("X-Forwarded-For: 192.168.1.5\r\n", 403),
        ("Content-Length: 3\r\n", 400),
    ],
)
def test_a_client_that_may_not_ask_gets_no_100_continue(daemon: Daemon, fields: str, expected: int) -> None:
    assert status(answer(daemon, EXPECTS + fields + "\r\n")) == expected


def test_http_1_0_has_no_100_continue(daemon: Daemon) -> None:
    assert status(answer(daemon, EXPECTS.replace("HTTP/1.1", "HTTP/1.0") + "\r\n{}")) == 405


def test_a_client_that_is_still_sending_reads_the_whole_refusal(daemon: Daemon) -> None:
    for _ in range(20):
        received = answer(daemon, b"POST / HTTP/1.1\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000)
        assert status(received) == 413 and received.endswith(b"A body may have 65536 bytes at most\n")


@pytest.mark.parametrize(
    "text", ["GET / HTTP/1.1\r\nHost: ", "GET /", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_an_incomplete_request_is_answered_after_the_timeout(tmp_path: Path, text: str) -> None:
    with running(tmp_path / "daemon", {"http.request_timeout_seconds": 1}) as daemon:
        assert status(answer(daemon, text)) == 408


def test_silent_connections_are_closed_after_the_timeout(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"http.request_timeout_seconds": 1, "http.keep_alive_seconds": 1}) as daemon:
        assert answer(daemon, "") == b""
        received = answer(daemon, "GET /livez HTTP/1.1\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n") and received.endswith(b"alive\n")


def test_a_connection_serves_as_many_requests_as_allowed(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"http.max_requests_per_connection": 3}) as daemon:
        received = answer(daemon, "GET /livez HTTP/1.1\r\n\r\n" * 5)
        assert received.count(b"HTTP/1.1 200") == 3
        assert re.findall(rb"Connection: (\S+)", received) == [b"keep-alive", b"keep-alive", b"close"]


def test_limits_are_configurable(tmp_path: Path) -> None:
    settings = {
        "http.max_request_line_bytes": 256,
        "http.max_header_bytes": 1024,
        "http.max_body_bytes": 1024,
        "http.max_viewers_per_address": 1,
    }
    with running(tmp_path / "daemon", {**SMALL, **settings}) as daemon:
        assert status(answer(daemon, "GET /" + "a" * 300 + " HTTP/1.1\r\n\r\n")) == 414
        assert status(answer(daemon, "GET / HTTP/1.1\r\nA: " + "b" * 1100 + "\r\n\r\n")) == 431
        assert status(answer(daemon, "POST / HTTP/1.1\r\nContent-Length: 1025\r\n\r\n")) == 413
        with contextlib.closing(daemon.watch()):
            code, headers, body = daemon.get("/stream")
            assert (code, headers["retry-after"]) == (429, "2")
            assert b"http.max_viewers_per_address" in body


def test_connections_of_one_address_are_limited(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SMALL, "http.max_connections_per_address": 2}) as daemon:
        idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(2)]
        refused = until("refused", lambda: (got := daemon.get("/livez"))[0] == 429 and got)
        assert refused[1]["retry-after"] == "2"
        for sock in idle:
            sock.close()
        until("served again", lambda: daemon.get("/livez")[0] == 200)


def test_options_lists_the_methods_and_the_origins_that_may_read(daemon: Daemon) -> None:
    plain = answer(daemon, "OPTIONS /state HTTP/1.1\r\n" + CLOSE + "\r\n")
    assert plain.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in plain
    assert b"Access-Control" not in plain
    preflight = "OPTIONS /state HTTP/1.1\r\nOrigin: {}\r\nAccess-Control-Request-Method: POST\r\n" + CLOSE + "\r\n"
    assert b"Access-Control" not in answer(daemon, preflight.format("http://attacker.example"))
    ours = answer(daemon, preflight.format("http://octopi.local"))
    assert b"\r\nAccess-Control-Allow-Origin: http://octopi.local\r\n" in ours
    assert b"\r\nAccess-Control-Allow-Headers: Authorization, Content-Type\r\n" in ours


@pytest.mark.parametrize("target", ["/snapshot", "/state", "/stream", "/"])
def test_only_listed_origins_may_read(daemon: Daemon, target: str) -> None:
    for origin, allowed in [("http://octopi.local", True), ("http://attacker.example", False)]:
        request = f"GET {target} HTTP/1.1\r\nOrigin: {origin}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", daemon.port), 10) as sock:
            sock.sendall(request.encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(4096)
        assert head.startswith(b"HTTP/1.1 200")
        assert (b"\r\nAccess-Control-Allow-Origin: http://octopi.local\r\n" in head) == allowed
        assert re.search(rb"\r\nVary: (Accept-Encoding, )?Origin\r\n", head)


def test_what_depends_on_the_request_is_named_in_vary(daemon: Daemon) -> None:
    # the settings of this daemon allow another site
    assert daemon.get("/nowhere")[1]["vary"] == "Accept, Accept-Language, Origin"
    assert daemon.get("/livez")[1]["vary"] == "Origin"


def test_the_page_loads_only_its_own_files_and_listed_origins_frame_it(daemon: Daemon) -> None:
    policy = daemon.get("/")[1]["content-security-policy"]
    assert "default-src 'self';" in policy and "unsafe" not in policy
    assert policy.endswith("frame-ancestors 'self' http://home.example:8123")


def test_a_page_is_sent_again_when_other_sites_may_frame_it(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SMALL) as daemon:
        page, script = (daemon.get(target)[1]["etag"] for target in ("/", "/app.js"))
        daemon.reload({**SMALL, "http.frame_ancestors": ["http://home.example:8123"]})
        until("the new policy", lambda: "home.example" in daemon.get("/")[1]["content-security-policy"])
        assert daemon.get("/")[1]["etag"] != page
        assert daemon.get("/app.js")[1]["etag"] == script


def test_refusals_are_logged_once_and_counted_always(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SMALL) as daemon:
        for _ in range(5):
            assert status(answer(daemon, "GET / HTTP/1.1\r\nHost: often.example\r\n\r\n")) == 421
        assert b'\npi_cam_http_denied_total{reason="host"} 5.0\n' in daemon.get("/metrics")[2]
        assert daemon.log().count("does not answer to the name often.example") == 1


def test_a_stream_is_not_disturbed_by_bad_requests_of_others(daemon: Daemon) -> None:
    reading = Reading(daemon.watch())
    for text, _ in CASES:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", daemon.port), 10) as sock:
            sock.sendall((text + "\r\n").encode("latin-1"))
    begin, before = time.monotonic(), len(reading.parts)
    until("pictures", lambda: len(reading.parts) >= before + 10)
    assert time.monotonic() - begin < patience(5)
    reading.finish()
    reading.viewer.close()
