"""Reading of requests: accepted syntax, the status of each refusal, and time limits."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_cam_daemon.config import loading
from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.request import Reader, Request, parse
from tests.kit.lateness import patience

HTTP = loading.load(etc=Path("/nonexistent")).http
SECONDS = 10.0


@pytest.mark.parametrize(
    ("line", "path", "arguments"),
    [
        (b"GET / HTTP/1.1", "/", {}),
        (b"GET /stream/ HTTP/1.0", "/stream", {}),
        (b"GET /stream? HTTP/1.1", "/stream", {}),
        (b"GET /stream?fps HTTP/1.1", "/stream", {"fps": ""}),
        (b"GET /stream?fps=5&fps=7 HTTP/1.1", "/stream", {"fps": "5"}),
        (b"GET /?action=stream?nonce=1 HTTP/1.1", "/", {"action": "stream", "nonce": "1"}),
        (b"GET /?&&=&a=b=c HTTP/1.1", "/", {"": "", "a": "b=c"}),
        (b"GET /%73tream HTTP/1.1", "/stream", {}),
        (b"GET /%2e%2e%2fetc HTTP/1.1", "/../etc", {}),
        (b"GET /%00 HTTP/1.1", "/\0", {}),
        (b"GET /%ff%zz HTTP/1.1", "/\N{REPLACEMENT CHARACTER}%zz", {}),
        (b"GET /\xec\xb9\xb4 HTTP/1.1", "/\N{HANGUL SYLLABLE KA}", {}),
        (b"GET //host/path HTTP/1.1", "/host/path", {}),
        (b"GET //snapshot HTTP/1.1", "/snapshot", {}),
        (b"GET /%2f/mjpeg///snapshot// HTTP/1.1", "/mjpeg/snapshot", {}),
        (b"GET http://host:81/stream?fps=1 HTTP/1.1", "/stream", {"fps": "1"}),
        (b"GET HTTPS://host HTTP/1.1", "/", {}),
        (b"GET http://host?action=stream HTTP/1.1", "/", {"action": "stream"}),
        (b"GET http://host:81?next=http://other/ HTTP/1.1", "/", {"next": "http://other/"}),
        (b"GET http://host//snapshot HTTP/1.1", "/snapshot", {}),
        (b"GET http://host#top HTTP/1.1", "/#top", {}),
        (b"GET ?action=stream HTTP/1.1", "/", {"action": "stream"}),
        (b"GET http://host:81/?action=snapshot HTTP/1.1", "/", {"action": "snapshot"}),
        (b"OPTIONS http://host:81 HTTP/1.1", "/", {}),
    ],
)
def test_request_targets_are_parsed(line: bytes, path: str, arguments: dict[str, str]) -> None:
    request = parse(line)
    assert (request.path, dict(request.arguments)) == (path, arguments)


@pytest.mark.parametrize("rest", [b"", b"/", b"/path", b"?a=/", b"#a"])
def test_an_authority_ends_before_path_query_or_fragment(rest: bytes) -> None:
    assert parse(b"GET http://camera.example:81" + rest + b" HTTP/1.1").authority == "camera.example:81"


@pytest.mark.parametrize(
    ("least", "most", "told"), [(0.0, 3_600_000.0, "0 to 3600000"), (0.05, 1000.0, "0.05 to 1000")]
)
def test_the_limits_of_a_number_in_the_query_are_told_in_digits(least: float, most: float, told: str) -> None:
    with pytest.raises(Refused, match=f"n has to be a number from {told}$"):
        parse(b"GET /?n=x HTTP/1.1").number("n", least, most)


def test_options_may_ask_for_the_server_as_a_whole() -> None:
    assert parse(b"OPTIONS * HTTP/1.1").path == "/"


def test_header_fields_are_found_by_any_case_and_kept_in_order() -> None:
    request = parse(b"GET / HTTP/1.1\r\nhOsT:\tcamera \r\nX-Forwarded-For: a\r\nX-FORWARDED-FOR: b\r\nEmpty:")
    assert request.headers == {"host": ("camera",), "x-forwarded-for": ("a", "b"), "empty": ("",)}
    assert request.header("host") == "camera"
    assert request.header("origin") == ""


@pytest.mark.parametrize(
    ("version", "fields", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"\r\nConnection: close", False),
        (b"1.1", b"\r\nConnection: TE, Close", False),
        (b"1.1", b"\r\nConnection: TE\r\nConnection: close", False),
        (b"1.1", b"\r\nConnection: keep-alive", True),
        (b"1.0", b"", False),
        (b"1.0", b"\r\nConnection: Keep-Alive", True),
        (b"1.9", b"", True),
    ],
)
def test_keep_alive_is_decided_by_version_and_header(version: bytes, fields: bytes, keeps: bool) -> None:
    assert parse(b"GET / HTTP/" + version + fields).keeps_alive is keeps


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"hello", 400),
        (b"GET /", 400),  # HTTP/0.9
        (b"GET  / HTTP/1.1", 400),
        (b"GET /\tHTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/11", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\x1b[31m HTTP/1.1", 400),
        (b"GET stream HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET ftp://host/ HTTP/1.1", 400),
        (b"CONNECT host:443 HTTP/1.1", 400),
        (b"OPTIONS rtsp://host/stream RTSP/1.0", 400),
        (b"PRI * HTTP/2.0", 505),
        (b"GET / HTTP/9.9", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a", 400),
        (b"GET / HTTP/1.1\r\nHost : a", 400),
        (b"GET / HTTP/1.1\r\n Host: a", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded", 400),
        (b"GET / HTTP/1.1\r\nno colon", 400),
        (b"GET / HTTP/1.1\r\n: a", 400),
        (b"GET / HTTP/1.1\r\nA: b\x00", 400),
        (b"GET / HTTP/1.1\r\nA: b\rc: d", 400),
        (b"GET / HTTP/1.1\r\n\xc3\xa4: b", 400),
    ],
)
def test_an_invalid_request_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        parse(head)
    assert refused.value.status == status
    assert str(refused.value).isprintable()


NEARLY = rb"[A-Z]{1,9} [^ ]{1,40} HTTP/[01]\.[01](\r\n[^\r\n]{0,40}){0,5}"


@given(st.binary(max_size=300) | st.from_regex(NEARLY, fullmatch=True))
def test_any_bytes_are_a_request_or_refused(head: bytes) -> None:
    try:
        request = parse(head)
    except Refused as refused:
        assert refused.status in (400, 505)
    else:
        assert request.path.startswith("/")
        assert all(name == name.lower() for name in request.headers)


@contextmanager
def connection() -> Iterator[tuple[Reader, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(SECONDS)
    with ours, theirs:
        yield Reader(ours), theirs


def read(data: bytes, **http: Any) -> Request | None:
    """Return the result for a client that sends *data* and then hangs up."""
    with connection() as (reader, client):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return whole(reader, replace(HTTP, **http))


def whole(reader: Reader, http: HttpConfig = HTTP) -> Request | None:
    """Return the next request with its body."""
    request = reader.next(http, SECONDS)
    return request and replace(request, body=reader.body(request, http))


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n"])
@pytest.mark.parametrize("before", [b"", b"\r\n", b"\r\n\r\n\n"])
def test_bare_line_feeds_and_leading_empty_lines_are_accepted(before: bytes, end: bytes) -> None:
    request = read(before + b"GET / HTTP/1.1" + end)
    assert request and request.path == "/"


def test_pipelined_requests_are_read_in_turn_and_bodies_are_skipped() -> None:
    with connection() as (reader, client):
        client.sendall(
            b"GET /1 HTTP/1.1\r\n\r\n"
            b"GET /2 HTTP/1.1\r\nContent-Length: 22\r\n\r\nGET /no HTTP/1.1\r\n\r\n\r\n"
            b"GET /3 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
            b"GET /4 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n"
            b"GET /5 HTTP/1.1\r\n\r\n"
        )
        client.shutdown(socket.SHUT_WR)
        requests = [whole(reader) for _ in range(6)]
    assert [request and request.path for request in requests] == ["/1", "/2", "/3", "/4", "/5", None]


@pytest.mark.parametrize(
    ("chunks", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"1\r\na\r\n0B\r\n{\r\n0\r\n\r\n\r\n}\r\n000\r\n\r\n", b"a{\r\n0\r\n\r\n\r\n}"),
        (b'3;name="a;b"\r\nabc\r\n0 ;last\r\n\r\n', b"abc"),
        (b"3\r\nabc\r\n0\r\nTrailer: x\r\nContent-Length: 9\r\n\r\n", b"abc"),
        (b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n", b"x" * 65536),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("coding", [b"chunked", b"Chunked"])
def test_a_chunked_body_is_read(method: bytes, coding: bytes, chunks: bytes, body: bytes) -> None:
    request = read(method + b" / HTTP/1.1\r\nTransfer-Encoding: " + coding + b"\r\n\r\n" + chunks)
    assert request and request.body == body


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"", 400),
        (b"\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x3\r\nabc\r\n", 400),
        (b"1_0\r\n", 400),
        (b" 3\r\nabc\r\n", 400),
        (b"3 \r\nabc\r\n", 400),
        (b"3\nabc\r\n", 400),
        (b"3;a\rb\r\nabc\r\n", 400),
        (b"3;" + b"a" * 300 + b"\r\nabc\r\n", 400),
        (b"3\r\nabcd\r\n0\r\n\r\n", 400),
        (b"3\r\nabc\n0\r\n\r\n", 400),
        (b"3\r\nab", 400),
        (b"3\r\nabc\r\n", 400),
        (b"3\r\nabc\r\n0\r\n", 400),
        (b"000000003\r\nabc\r\n", 400),
        (b"10001\r\n", 413),
        (b"ffffffff\r\n", 413),
        (b"8000\r\n" + b"x" * 0x8000 + b"\r\n8001\r\n", 413),
        (b"1\r\nx\r\n" * 1001, 413),
        (b"0\r\n" + b"a: b\r\n" * 4000, 431),
    ],
)
def test_a_malformed_or_long_chunked_body_is_refused(chunks: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        read(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert refused.value.status == status


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.binary(max_size=30))
def test_any_chunks_are_joined_and_the_next_request_is_found(chunks: list[bytes], more: bytes) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    with connection() as (reader, client):
        client.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n" + more)
        client.shutdown(socket.SHUT_WR)
        request = whole(reader)
        assert request and request.body == b"".join(chunks)
        assert reader.read() == more


@pytest.mark.parametrize(
    ("version", "fields", "waits"),
    [
        (b"1.1", b"Content-Length: 3\r\nExpect: 100-continue", True),
        (b"1.1", b"Transfer-Encoding: chunked\r\nExpect: 100-Continue", True),
        (b"1.1", b"Content-Length: 0\r\nExpect: 100-continue", False),
        (b"1.1", b"Content-Length: 3\r\nExpect: other", False),
        (b"1.0", b"Content-Length: 3\r\nExpect: 100-continue", False),
    ],
)
def test_only_a_client_of_http_1_1_with_a_body_waits_for_100_continue(
    version: bytes, fields: bytes, waits: bool
) -> None:
    with connection() as (reader, client):
        client.sendall(b"POST / HTTP/" + version + b"\r\n" + fields + b"\r\n\r\n")
        request = reader.next(HTTP, SECONDS)
        assert request and request.waits is waits


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: -1", 400),
        (b"Content-Length: +1", 400),
        (b"Content-Length: 1_0", 400),
        (b"Content-Length: ten", 400),
        (b"Content-Length: \xb2", 400),
        (b"Content-Length:", 400),
        (b"Content-Length: 3, 3", 400),
        (b"Content-Length: 3\r\nContent-Length: 4", 400),
        (b"Content-Length: 3", 400),  # the body ends in its middle
        (b"Content-Length: 65537", 413),
        (b"Content-Length: 99999999999999999999999999", 413),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3", 400),
        (b"Transfer-Encoding:", 501),
        (b"Transfer-Encoding: gzip", 501),
        (b"Transfer-Encoding: gzip, chunked", 501),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_unreadable_bodies_are_refused(method: bytes, fields: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        read(method + b" / HTTP/1.1\r\n" + fields + b"\r\n\r\n")
    assert refused.value.status == status


def test_http_1_0_has_no_chunks() -> None:
    with pytest.raises(Refused) as refused:
        read(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\n\r\n", 414, "256 bytes"),
        (b"a" * 300, 414, "256 bytes"),  # without an end
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 1100 + b"\r\n\r\n", 431, "1024 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300, 431, "1024 bytes"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1025\r\n\r\n", 413, "1024 bytes"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not by https"),
        (b"GET / HTTP/1.1\r\nHost: a", 400, "incomplete"),
    ],
)
def test_long_or_non_http_input_is_refused_before_it_ends(data: bytes, status: int, text: str) -> None:
    with pytest.raises(Refused, match=text) as refused:
        read(data, max_request_line_bytes=256, max_header_bytes=1024, max_body_bytes=1024)
    assert refused.value.status == status


def test_a_request_of_the_maximum_size_is_read() -> None:
    line = b"GET /" + b"a" * (256 - len(b"GET / HTTP/1.1\r")) + b" HTTP/1.1\r\n"
    fields = b"A: " + b"b" * (1024 - len(b"\nA: ")) + b"\r\n\r\n"
    assert read(line + fields, max_request_line_bytes=256, max_header_bytes=1024)


def test_a_silent_client_is_dropped_without_an_answer() -> None:
    with connection() as (reader, _):
        assert reader.next(HTTP, 0.05) is None
    assert read(b"") is None
    assert read(b"\r\n\r\n") is None


def test_endless_empty_lines_are_not_kept() -> None:
    with connection() as (reader, client):

        def flood() -> None:
            for _ in range(50):
                client.sendall(b"\r\n" * 500_000)
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")

        tracemalloc.start()
        flooding = threading.Thread(target=flood)
        flooding.start()
        request = reader.next(HTTP, 60.0)
        flooding.join(patience(60))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert request and request.path == "/"
    assert peak < 8_000_000  # of 50 million bytes


def test_a_slow_request_has_one_deadline() -> None:
    with connection() as (reader, client):
        stop = threading.Event()

        def drip() -> None:
            for byte in b"GET /" + b"a" * 10_000:
                client.sendall(bytes([byte]))
                if stop.wait(0.02):
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        begin = time.monotonic()
        with pytest.raises(Refused, match="not complete after 1 s") as refused:
            reader.next(replace(HTTP, request_timeout_seconds=1.0), SECONDS)
        stop.set()
        dripping.join(SECONDS)
    assert refused.value.status == 408
    assert time.monotonic() - begin >= 1
