"""Requests that are made to be slow to read. The reader holds the interpreter, so all viewers would wait."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pi_cam_daemon.config import loading
from pi_cam_daemon.config.addresses import Networks
from pi_cam_daemon.ipc.controls import Control, Kind, check
from pi_cam_daemon.ipc.messages import SetControls
from pi_cam_daemon.server import live_controls, request
from pi_cam_daemon.server.access import Access, AllowedNetworks, own_networks
from pi_cam_daemon.server.hosts import HostPolicy
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.request import Reader
from tests.kit.lateness import patience

# bytes, as many as http.max_header_bytes may be
MOST = 262144


@pytest.mark.parametrize(
    "fields",
    [
        b"a:" + b" " * MOST + b"\x01",
        b"a:" + b"\t " * (MOST // 2) + b"\x01",
        b"\n".join([b"a:"] * (MOST // 3)),
        b"\n".join([b"a: b "] * (MOST // 6)),
        b"Host: " + b"a." * (MOST // 2),
        b"Host: " + b"." * MOST,
        b"Host: [" + b":" * MOST,
        b"Host: " + b"a" * MOST,
        b"Host: camera\nX-Forwarded-For: " + b"," * MOST,
        b"Host: camera\nX-Forwarded-For: " + b"::1:" * (MOST // 4),
        b"Host: camera\nX-Forwarded-For: " + b" " * (MOST // 2) + b"1" + b" " * (MOST // 2),
        b"Host: camera\nForwarded: for=" + b";for=" * (MOST // 5),
        b"Host: camera\nConnection: " + b"," * MOST,
        b"Host: camera\nOrigin: " + b"http://" * (MOST // 7),
        b"Host: camera\nOrigin: http://camera:1\nX-Forwarded-Host: " + b"a." * (MOST // 2),
        b"Host: camera\nOrigin: http://camera:1\nX-Forwarded-Host: " + b"," * MOST,
        b"Host: camera\nOrigin: http://camera:1\nForwarded: " + b"host=" * (MOST // 5),
        b"Host: camera\nOrigin: http://camera:1\nForwarded: " + b' host="' * (MOST // 7),
        b"Host: " + b".localhost" * (MOST // 10) + b"x",
        b"Host: camera\nCookie: " + b"\xff" * MOST,
    ],
)
def test_no_header_costs_more_than_its_length(fields: bytes) -> None:
    # A quarter of a megabyte is split and searched in milliseconds; with its square it would be minutes.
    policy = HostPolicy(["local", ".example.org"], ["http://octopi.local"], own_networks().contains, lambda: "camera")
    access = Access(AllowedNetworks(Networks(["local"])), Networks(["127.0.0.1"]))
    begun = time.thread_time()
    try:
        asked = request.parse(b"POST /?action=stream HTTP/1.1\n" + fields)
        assert asked.keeps_alive
        access.judge("127.0.0.1", "127.0.0.1", asked)
        policy.check(asked, "192.168.1.5", proxied=True)
    except Refused:
        pass
    assert time.thread_time() - begun < 0.5


# as many as a USB camera may have, with names that are alike
CONTROLS = (
    Control("roi", Kind.RECTANGLE),
    Control("mode", Kind.CHOICE, "auto", "auto", choices=("auto", "cloudy")),
    *(Control(f"white_balance_temperature_of_{number:04}", Kind.NUMBER, 0.0, 0.0, -1.0, 1.0) for number in range(46)),
)
BODY = 65536  # bytes, as http.max_body_bytes is installed


def _object(*texts: str) -> bytes:
    return f"{{{','.join(texts)}}}".encode()


@pytest.mark.parametrize(
    "body",
    [
        _object(*(f'"white_balance_temperature_of_x{number:04}":1' for number in range(BODY // 40))),
        _object(*(f'"white_balance_temperature_of_x{number:04}":1' for number in range(64))),
        _object(*(f'"{number:x}":1' for number in range(BODY // 10))),
        _object(*(f'"{str(number) * 400}":1' for number in range(10, 74))),
        _object(f'"{"roi" * (BODY // 3)}":1'),
        _object('"roi":[' + ",".join("1" * (BODY // 2)) + "]"),
        _object('"roi":[' + ",".join(['""'] * (BODY // 3)) + "]"),
        _object('"roi":[' + ",".join(["{}"] * (BODY // 3)) + "]"),
        _object('"roi":[' + ",".join(["9" * 4300] * 15) + "]"),
        _object('"roi":"[' + "1," * (BODY // 2) + '"'),
        _object('"roi":"' + "\\n" * (BODY // 2) + '"'),
        _object('"roi":"' + "@" * BODY + '"'),
        _object('"roi":"' + "http://" * (BODY // 7) + '"'),
        _object('"roi":"' + "\\ud83d" * (BODY // 6) + '"'),
        _object(*(f'"{control.name}":"{"[" + "1," * 600}"' for control in CONTROLS)),
        _object(*(f'"{control.name}":"{"[" + "1," * 45}"' for control in CONTROLS)),
        _object(*(f'"{control.name}":[{",".join("1" * 600)}]' for control in CONTROLS)),
        b"[" * BODY,
        b'{"a":' * (BODY // 5),
    ],
    ids=lambda body: body[:24].decode() + f" {len(body)}",
)
def test_refusing_controls_costs_little_more_than_reading_json(body: bytes) -> None:
    def refuse() -> None:
        try:
            values, wrong = check(CONTROLS, live_controls.parse(body))
        except Refused:
            return
        assert wrong and not values
        assert len(json.dumps({"errors": wrong}, indent=1)) < BODY

    assert len(body) <= BODY + 100
    numbers = b"[" + b",".join([b"0.125"] * (BODY // 6)) + b"]"
    assert _seconds(refuse) < 10 * _seconds(lambda: json.loads(numbers))


NAMES = st.sampled_from([control.name for control in CONTROLS] + ["Roi", "mod", "white_balance"]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["[", "[0,0,1,1]", "AUTO"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)
# JSON escapes most letters; the other way they come as they are, lone surrogates as bytes that are no UTF-8
OBJECTS = st.builds(
    lambda table, escaped: json.dumps(table, ensure_ascii=escaped).encode("utf-8", "surrogatepass"),
    st.dictionaries(NAMES, VALUES, max_size=8),
    st.booleans(),
)
PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b":", b",", b"1", b"9", b"-", b"e9", b"NaN", b"Infinity", b"null", b"true", b" ",
     b'"a":', b'{"a":', b'"roi":', b'"roi":[', b"\\ud800", b"\\", b"\0", b"\xff",
     b"\xef\xbb\xbf", b"\xfe\xff", b"0,", b'"",']
)  # fmt: skip
# parts of the longest body, each of one piece again and again
REPEATED = st.lists(st.tuples(PIECES, st.sampled_from([1, 2, 40, 5000, BODY])), max_size=8)
# many names, which are alike or long
MANY = st.builds(
    lambda stem, value, count: _object(*(f'"{stem}{number}":{value}' for number in range(count)))[:BODY],
    st.sampled_from(["", "white_balance_temperature_of_x", "roi", "mode" * 100]),
    st.sampled_from(["1", "null", '"auto"', "[0,0,1,1]", '"' + "[" * 90 + '"', "[" + "1," * 40 + "1]"]),
    st.sampled_from([1, 5, 64, 65, 1000]),
)
BODIES = st.binary(max_size=200) | OBJECTS | MANY | REPEATED.map(lambda parts: b"".join(p * n for p, n in parts)[:BODY])


# to shrink a slow body would take minutes
@settings(max_examples=300, derandomize=True, phases=[Phase.generate])
@given(BODIES)
def test_any_body_is_accepted_or_refused_in_words_within_5_ms(body: bytes) -> None:
    def judge() -> None:
        try:
            values, wrong = check(CONTROLS, live_controls.parse(body))
        except Refused as refused:
            assert 400 <= refused.status < 500
            assert refused.text.isprintable()
            return
        assert all(text.isprintable() and len(text) < 4000 for text in wrong.values())
        json.dumps({"errors": wrong}).encode()
        assert SetControls.from_json(SetControls(1, values).to_json()).values == values

    assert _seconds(judge) < patience(0.005)


@pytest.mark.parametrize("chunks", [b"1\r\nx\r\n" * (BODY // 6), b"1" + b";" * 200 + b"\r\nx\r\n0\r\n" + b"a\n" * 8000])
def test_reading_chunks_costs_little_more_than_reading_json(chunks: bytes) -> None:
    http = loading.load(etc=Path("/nonexistent")).http
    numbers = b"[" + b",".join([b"0.125"] * (BODY // 6)) + b"]"
    took = []
    for _ in range(3):
        server, client = socket.socketpair()
        with server, client, ThreadPoolExecutor(1) as pool:
            sent = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"\r\n"
            sending = pool.submit(client.sendall, sent)
            reader = Reader(server)
            begun = time.thread_time()
            asked = reader.next(http, 30.0)
            assert asked
            with contextlib.suppress(Refused):
                reader.body(asked, http)
            took.append(time.thread_time() - begun)
            server.shutdown(socket.SHUT_RD)
            with contextlib.suppress(OSError):
                sending.result(10)
    assert min(took) < 10 * _seconds(lambda: json.loads(numbers))


def _seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of this thread for *work*: the least of three, so other work on the machine counts little."""
    took = []
    for _ in range(3):
        begun = time.thread_time()
        work()
        took.append(time.thread_time() - begun)
    return min(took)


def test_endless_empty_lines_are_not_kept() -> None:
    server, client = socket.socketpair()
    http = loading.load(etc=Path("/nonexistent")).http
    with server, client, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.sendall, b"\r\n" * (4 << 20) + b"GET /livez HTTP/1.1\r\n\r\n")
        tracemalloc.start()
        try:
            asked = Reader(server).next(http, 30.0)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        sending.result(10)
    assert asked and asked.path == "/livez"
    assert most < 1 << 20
