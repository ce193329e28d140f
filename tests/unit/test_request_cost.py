"""Requests that are made to be slow to read. The reader holds the interpreter, so all viewers would wait."""

from __future__ import annotations

import socket
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pi_cam_daemon.config import loading
from pi_cam_daemon.config.addresses import Networks
from pi_cam_daemon.server import request
from pi_cam_daemon.server.access import Access, AllowedNetworks, own_networks
from pi_cam_daemon.server.hosts import HostPolicy
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.request import Reader

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
        access.judge("127.0.0.1", asked)
        policy.check(asked, "192.168.1.5")
    except Refused:
        pass
    assert time.thread_time() - begun < 0.5


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
