"""The file by which avahi announces the camera, and the name that avahi gives to the machine."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.config import last_good
from pi_cam_daemon.system import avahi
from tests.kit.lateness import patience

FILE = "etc/avahi/services/pi-cam-daemon.service"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/avahi/services").mkdir(parents=True)
    (tmp_path / "etc/pi-cam-daemon").mkdir()
    return tmp_path


def announce(root: Path) -> None:
    http = last_good.in_force(root).http
    avahi.announce(root, http.scheme, http.port)


def test_the_configured_port_is_announced_or_else_the_default(root: Path) -> None:
    assert last_good.in_force(root).http.port == 8000
    (root / "etc/pi-cam-daemon/config.toml").write_text("[http]\nport = 8081\n")
    assert last_good.in_force(root).http.port == 8081
    (root / "etc/pi-cam-daemon/config.toml").write_text("[http]\nport = 8081\nprot = 1\n")
    assert last_good.in_force(root).http.port == 8000


def test_an_announcement_is_withdrawn_and_can_be_withdrawn_twice(root: Path) -> None:
    (root / "etc/pi-cam-daemon/config.toml").write_text("[http]\nport = 8081\n")
    announce(root)
    ports = ElementTree.parse(root / FILE).findall("service/port")
    assert [port.text for port in ports] == ["8081", "8081"]
    avahi.withdraw(root)
    avahi.withdraw(root)
    assert not (root / FILE).exists()


def test_a_machine_without_avahi_gets_no_folder(tmp_path: Path) -> None:
    announce(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_all_texts_together_fit_a_packet(root: Path) -> None:
    announce(root)
    for service in ElementTree.parse(root / FILE).findall("service"):
        # recommended by RFC 6763, 6.2, for TXT records that are to fit one Ethernet frame with the rest
        assert sum(1 + len(record.text or "") for record in service.findall("txt-record")) < 400


def test_a_camera_with_a_certificate_is_announced_with_https(root: Path) -> None:
    (root / "etc/pi-cam-daemon/config.toml").write_text(
        '[http]\ntls_certificate = "/etc/c.pem"\ntls_key = "/etc/k.pem"\n'
    )
    announce(root)
    services = ElementTree.parse(root / FILE).findall("service")
    assert [service.findtext("type") for service in services] == ["_https._tcp", "_pi-cam._tcp"]
    assert all("scheme=https" in [record.text for record in service.findall("txt-record")] for service in services)


@pytest.fixture
def avahi_says(tmp_path: Path) -> Iterator[Callable[[dict[str, bytes]], Path]]:
    """Serve given answers on a socket as avahi does; other requests get none before the client gives up."""
    with contextlib.ExitStack() as stack:

        def serve(answers: dict[str, bytes]) -> Path:
            class Answering(socketserver.StreamRequestHandler):
                def handle(self) -> None:
                    answer = answers.get(self.rfile.readline().decode())
                    if answer is None:
                        self.rfile.read()
                    else:
                        self.wfile.write(answer)

            path = tmp_path / "socket"
            server = stack.enter_context(socketserver.ThreadingUnixStreamServer(str(path), Answering))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            thread.start()
            return path

        yield serve


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b"+ 3 0 cam-2.local\n", "cam-2.local"),
        (b"-15 Timeout reached\n", ""),
        (b"", ""),
        (b"+ 3 0 cam.local evil\n", ""),
        (b"+ 3 0 \x1b[31mcam.local\n", ""),
        (b"+ 3 0 " + b"x" * 4000 + b".local\n", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_avahis_name_is_taken_only_if_it_is_one(
    avahi_says: Callable[[dict[str, bytes]], Path], answer: bytes, name: str
) -> None:
    path = avahi_says({"RESOLVE-ADDRESS 10.0.0.1\n": answer})
    assert avahi.host_name(["10.0.0.1"], path) == name


def test_an_address_that_avahi_does_not_serve_is_passed_over(
    avahi_says: Callable[[dict[str, bytes]], Path],
) -> None:
    path = avahi_says({"RESOLVE-ADDRESS 10.0.0.2\n": b"+ 3 0 cam.local\n"})
    assert avahi.host_name(["10.0.0.1", "10.0.0.2"], path) == "cam.local"
    begun = time.monotonic()
    assert avahi.host_name([f"10.1.0.{number}" for number in range(200)], path) == ""
    assert time.monotonic() - begun < patience(5)


def test_without_avahi_there_is_no_name_of_it(tmp_path: Path) -> None:
    assert avahi.host_name(["10.0.0.1"], tmp_path / "socket") == ""
