"""Any bytes from a client get an answer or an end in time, no traceback, and the next request is served."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.wire import read_all


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon with short timeouts for all tests."""
    options = {
        "video.width": 320,
        "video.height": 240,
        "http.request_timeout_seconds": 2,
        "http.keep_alive_seconds": 2,
        "log.level": "debug",
    }
    with running(tmp_path_factory.mktemp("daemon"), options) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def everything(daemon: Daemon, sent: bytes) -> bytes:
    """Return everything that is answered to *sent* until the server closes."""
    with daemon.connect(sent.decode("latin-1")) as sock:
        return read_all(sock)


def test_an_earlier_request_does_not_affect_the_answer_to_an_invalid_one(daemon: Daemon) -> None:
    answer = everything(daemon, b"HEAD /livez HTTP/1.1\r\n\r\nnonsense\r\n\r\n")
    first, _, second = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 400") and second.endswith(b"\r\n\r\nThis is not an HTTP request\n")
    metrics = daemon.get("/metrics")[2].decode()
    assert 'pi_cam_http_requests_total{code="400",path="/livez"}' not in metrics
    assert 'pi_cam_http_requests_total{code="400",path="other"}' in metrics


# -- anything at all

VALID = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a\r\n\r\n",
    b"GET /livez HTTP/1.0\r\n\r\n",
    b"HEAD /snapshot?max_age_ms=5000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /?action=snapshot&x=%41 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\n\r\n",
    b"GET /stream?fps=5 HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
    b"OPTIONS /state HTTP/1.1\r\nHost: localhost\r\nOrigin: http://octopi.local\r\n\r\n",
    b"POST /state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGET /livez HTTP/1.1\r\n\r\n",
    b"POST /state HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET http://localhost/metrics HTTP/1.1\r\nX-Forwarded-For: 192.168.1.5\r\nForwarded: for=10.0.0.1\r\n\r\n",
]
TOKENS = [
    b"", b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\xff", b":", b"/", b"?", b"%", b"%00", b"%ff", b"[", b"@", b"&",
    b";", b"HTTP/1.1", b"HTTP/0.9", b"HTTP/2.0", b"Host: x\r\n", b"Content-Length: 9\r\n", b"Transfer-Encoding: x\r\n",
    b"GET ", b"Connection: close\r\n", b"-1", b"9" * 30, b"a" * 9000, b"A: b\r\n" * 3000, b"\r\n\r\n", b"\x16\x03\x01",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a request in which pieces are replaced by others."""
    request = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(request)))
        end = min(len(request), start + draw(st.integers(0, 20)))
        request[start:end] = draw(st.sampled_from(TOKENS) | st.binary(max_size=8))
    return bytes(request)


def answer_in_time(daemon: Daemon, sent: bytes, ends: bool) -> bytes:
    """Return the answer until the server closes or pictures come; *ends*: the client closes its sending side."""
    begun = time.monotonic()
    answer = b""
    with daemon.connect("") as sock:
        with contextlib.suppress(ConnectionError):  # it may be refused in its middle
            sock.sendall(sent)
            if ends:
                sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while b"multipart/x-mixed-replace" not in answer and (chunk := sock.recv(65536)):
                answer += chunk
    assert time.monotonic() - begun < patience(
        10
    )  # request, kept connection, snapshot and lingering, each with its timeout
    return answer


def is_unharmed(daemon: Daemon) -> None:
    assert daemon.get("/livez")[::2] == (200, b"alive\n")
    assert "Traceback" not in daemon.log()


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=2000) | st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join))
def test_random_bytes_are_answered_or_ended(daemon: Daemon, sent: bytes) -> None:
    answer = answer_in_time(daemon, sent, ends=True)
    assert not answer or answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
    is_unharmed(daemon)


@settings(deadline=None, max_examples=300)
@given(mutated())
def test_mutated_requests_are_answered_or_ended(daemon: Daemon, sent: bytes) -> None:
    answer = answer_in_time(daemon, sent, ends=True)
    assert not answer or answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
    is_unharmed(daemon)


@settings(deadline=None, max_examples=5)
@given(mutated() | st.binary(min_size=1, max_size=200))
def test_a_client_that_falls_silent_is_not_waited_for(daemon: Daemon, sent: bytes) -> None:
    answer_in_time(daemon, sent, ends=False)
    is_unharmed(daemon)
