"""The optional unit that lets avahi announce the camera as long as it serves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.wait import until
from tests.systemd.conftest import Camera

UNIT = "pi-cam-daemon-announce.service"
FOLDER = "/etc/avahi/services"
FILE = f"{FOLDER}/pi-cam-daemon.service"


@pytest.fixture
def announced(camera: Camera) -> Iterator[Camera]:
    """The service with avahi's folder; the server tier tests avahi itself."""
    camera.host.run("mkdir", "-p", FOLDER)
    camera.host.run("systemctl", "enable", "--now", UNIT)
    yield camera
    camera.host.run("systemctl", "disable", "--now", UNIT)
    camera.host.remove("/etc/avahi")


def port(camera: Camera) -> str:
    """Return the announced port, empty if there is none."""
    return camera.host.try_run("sed", "-n", "0,/<port>/s,.*<port>\\(.*\\)</port>.*,\\1,p", FILE).stdout.strip()


def test_a_camera_is_announced_at_its_port_until_it_is_stopped(announced: Camera) -> None:
    host = announced.host
    assert host.run("systemctl", "is-enabled", UNIT) == "enabled"
    until("the announcement", lambda: port(announced) == "8000")
    announced.configure({"http.port": 8010})
    host.run("systemctl", "restart", announced.unit)
    until("the new port", lambda: port(announced) == "8010")
    host.run("systemctl", "stop", announced.unit)
    until("no announcement", lambda: host.try_run("test", "-e", FILE).returncode != 0)
    host.run("systemctl", "start", announced.unit)
    until("the announcement again", lambda: port(announced) == "8010")


def test_a_camera_that_stops_during_its_announcement_is_not_announced(announced: Camera) -> None:
    host, folder = announced.host, f"/etc/systemd/system/{UNIT}.d"
    # one command: of two, systemd 252 runs the second where SIGTERM ends the first, and waits for it
    slow = "/bin/sh -c '/opt/pi-cam-daemon/current/bin/pi-cam-daemon announce; exec sleep 600'"
    host.write(f"{folder}/slow.conf", f"[Service]\nExecStart=\nExecStart={slow}\n")
    try:
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "restart", "--no-block", UNIT)
        until("the announcement", lambda: host.show(UNIT, "ActiveState") == "activating" and port(announced))
        host.run("systemctl", "stop", announced.unit)
        until("no announcement", lambda: host.try_run("test", "-e", FILE).returncode != 0)
        until("the end of it", lambda: host.show(UNIT, "ActiveState") == "inactive")
    finally:
        host.remove(folder)
        host.run("systemctl", "daemon-reload")


def test_without_avahi_the_camera_serves_and_nothing_fails(camera: Camera) -> None:
    camera.host.run("systemctl", "start", UNIT)
    assert camera.host.show(UNIT, "ConditionResult") == "no"
    assert camera.host.show(UNIT, "ActiveState") == "inactive"
    assert camera.get("/livez")[0] == 200


def test_the_unit_may_only_write_to_avahis_folder_and_has_no_network(announced: Camera) -> None:
    shown = {name: announced.host.show(UNIT, name) for name in ("ProtectSystem", "PrivateNetwork", "PrivateDevices")}
    assert shown == {"ProtectSystem": "strict", "PrivateNetwork": "yes", "PrivateDevices": "yes"}
    assert announced.host.show(UNIT, "ReadWritePaths") == FOLDER
