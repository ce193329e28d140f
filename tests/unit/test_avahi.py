"""The file by which avahi announces the camera."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from pi_cam_daemon.config import last_good
from pi_cam_daemon.system import avahi

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
