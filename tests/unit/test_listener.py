"""The words for an address that cannot be listened on."""

from __future__ import annotations

import errno
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pi_cam_daemon.config import loading
from pi_cam_daemon.config.schema import HttpConfig
from pi_cam_daemon.server import listener
from pi_cam_daemon.server.answers import head
from pi_cam_daemon.server.listener import cannot_listen
from tests.kit.lateness import patience

IN_USE = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def http(listen_address: str, port: int) -> HttpConfig:
    return replace(loading.load(etc=Path("/nonexistent")).http, listen_address=listen_address, port=port)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EACCES, "http.port = 80: only root may use ports below 1024; choose one from 1024 to 65535"),
        (
            errno.EADDRNOTAVAIL,
            'http.listen_address = "10.0.0.7" is not an address of this machine; "" listens on all of them',
        ),
        (
            errno.EAFNOSUPPORT,
            'cannot listen on http.port = 80, http.listen_address = "10.0.0.7": '
            "Address family not supported by protocol",
        ),
    ],
)
def test_the_wrong_setting_is_named_with_what_to_set_instead(number: int, told: str) -> None:
    assert cannot_listen(http("10.0.0.7", 80), OSError(number, os.strerror(number))) == told


@pytest.mark.parametrize(
    ("answer", "camera"),
    [
        (head(200, {"Content-Type": "text/plain"}) + b"alive\n", True),
        (head(503, {"X-Refused": "max_connections"}) + b"There are 256 connections already\n", True),
        (head(200, {"Content-Type": "text/plain"}) + b"<h1>Hello</h1>\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"", False),
    ],
)
def test_a_taken_port_is_said_to_be_a_pi_cam_daemon_s_if_it_answers_as_one(answer: bytes, camera: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, ThreadPoolExecutor(1) as pool:
        port = taken.getsockname()[1]
        told = pool.submit(cannot_listen, http("127.0.0.1", port), IN_USE)
        taken.settimeout(patience(10))
        connection, _ = taken.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)
        taker = f"another pi-cam-daemon, http://127.0.0.1:{port}/" if camera else "another program"
        expected = f"http.port = {port} is taken by {taker}; choose a free one, as with --set http.port=8080"
        assert told.result(patience(10)) == expected


def test_a_taken_port_where_nobody_answers_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_ASK_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "another program" in cannot_listen(http("127.0.0.1", taken.getsockname()[1]), IN_USE)
    assert "--set http.port=8081" in cannot_listen(http("127.0.0.1", 8080), IN_USE)
