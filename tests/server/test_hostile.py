"""Whatever comes over the wire: an answer or an end in time, no traceback, and the next request is served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.harness import Daemon, running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all, with short timeouts."""
    settings = {"video.width": 320, "video.height": 240, "http.request_timeout_seconds": 2, "log.level": "debug"}
    with running(tmp_path_factory.mktemp("daemon"), settings) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def everything(daemon: Daemon, sent: bytes) -> bytes:
    """All that is answered to *sent*, until the server closes."""
    with daemon.connect(sent.decode("latin-1")) as sock:
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
        return answer


def test_what_was_asked_before_does_not_colour_the_answer_to_what_is_no_request(daemon: Daemon) -> None:
    answer = everything(daemon, b"HEAD /livez HTTP/1.1\r\n\r\nnonsense\r\n\r\n")
    first, _, second = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 400") and second.endswith(b"\r\n\r\nThis is no HTTP request\n")
    metrics = daemon.get("/metrics")[2].decode()
    assert 'pi_cam_http_requests_total{code="400",path="/livez"}' not in metrics
    assert 'pi_cam_http_requests_total{code="400",path="other"}' in metrics
