"""A host that runs only the daemon has no open port but the configured one."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kit.broker import broker
from tests.kit.daemon import RUN, running
from tests.kit.network import CAMERA, Host, hosts, open_ports, wire
from tests.kit.wait import until


def only_its_port_is_open(folder: Path, host: Host, settings: Mapping[str, object], env: Mapping[str, str]) -> None:
    """Fail unless a daemon on *host* streams, answers all its addresses, and opens no other port."""
    argv = ["ip", "netns", "exec", host.name, *RUN]
    with running(folder, {**settings, "http.listen_address": ""}, env=env, argv=argv) as daemon:

        def answer(path: str) -> bytes:
            with host.connect("127.0.0.1", daemon.port) as sock:
                sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                return sock.recv(65536)

        until("pictures", lambda: b" 200 OK" in answer("/snapshot"), 30)
        for path in ("/", "/state", "/metrics", "/healthz", "/stream"):
            assert b" 200 OK" in answer(path)
        # the camera process too, and whatever it started
        assert open_ports(host) == {("tcp6", daemon.port)}


@pytest.mark.parametrize("kind", ["pattern", "upstream", "mqtt"])
def test_only_the_configured_port_is_open(tmp_path: Path, kind: str) -> None:
    settings = {"source.kind": kind}
    with hosts(1, beside_us=kind != "pattern") as (host,):
        if kind == "mqtt":
            wire(CAMERA, host, {"po0": "10.231.8.1/24"}, {"po1": "10.231.8.2/24"})
            with broker(tmp_path / "broker", ["listener 1883 10.231.8.1"]) as home:
                settings = {"source.kind": "pattern", "mqtt.host": "10.231.8.1"}
                only_its_port_is_open(tmp_path / "own", host, settings, {})
                assert any(message.text == "online" for message in home.heard() if message.topic.endswith("/status"))
            return
        if kind == "upstream":
            wire(CAMERA, host, {"po0": "10.231.8.1/24"}, {"po1": "10.231.8.2/24"})
            with running(tmp_path / "upstream", {"http.listen_address": "10.231.8.1"}) as upstream:
                settings["upstream.url"] = f"http://10.231.8.1:{upstream.port}/stream"
                only_its_port_is_open(tmp_path / "own", host, settings, {})
            return
        only_its_port_is_open(tmp_path / "own", host, settings, {})


def test_the_port_scan_finds_open_ports() -> None:
    with hosts(1) as (host,), host.socket(socket.AF_INET) as tcp:
        assert open_ports(host) == set()
        tcp.bind(("127.0.0.1", 4711))
        tcp.listen()
        assert open_ports(host) == {("tcp", 4711)}
