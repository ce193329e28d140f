"""The file by which avahi announces the camera."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from pi_cam_daemon import announcement

FILE = "etc/avahi/services/pi-cam-daemon.service"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/avahi/services").mkdir(parents=True)
    (tmp_path / "etc/pi-cam-daemon").mkdir()
    return tmp_path


def test_the_port_is_that_of_the_configuration_and_the_usual_one_where_that_is_wrong(root: Path) -> None:
    assert announcement.port_in_force(root) == 8000
    (root / "etc/pi-cam-daemon/config.toml").write_text("[http]\nport = 8081\n")
    assert announcement.port_in_force(root) == 8081
    (root / "etc/pi-cam-daemon/config.toml").write_text("[http]\nport = 8081\nprot = 1\n")
    assert announcement.port_in_force(root) == 8000


def test_what_is_announced_is_withdrawn_and_may_be_withdrawn_twice(root: Path) -> None:
    announcement.announce(root, 8081)
    ports = ElementTree.parse(root / FILE).findall("service/port")
    assert [port.text for port in ports] == ["8081", "8081"]
    announcement.withdraw(root)
    announcement.withdraw(root)
    assert not (root / FILE).exists()


def test_a_machine_without_avahi_gets_no_folder(tmp_path: Path) -> None:
    announcement.announce(tmp_path, 8000)
    assert list(tmp_path.iterdir()) == []


def test_all_texts_together_fit_a_packet(root: Path) -> None:
    announcement.announce(root, 8000)
    for service in ElementTree.parse(root / FILE).findall("service"):
        # recommended by RFC 6763, 6.2, for TXT records that are to fit one Ethernet frame with the rest
        assert sum(1 + len(record.text or "") for record in service.findall("txt-record")) < 400
