"""One deployment of different settings to four hosts, and its results."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.config import users
from tests.conftest import Report
from tests.fleet.conftest import ANNOUNCEMENT, ETC, OUTSIDE, Controller, Pi, Play, deploy_plainly
from tests.fleet.releases import Releases
from tests.kit import certificates
from tests.kit.wait import until

PASSWORD = "swordfish"
UPSTREAM = f"http://camera:{PASSWORD}@127.0.0.1:1/"


@dataclass(frozen=True)
class Deployed:
    controller: Controller
    before: dict[str, dict[str, Any]]
    checked: Play
    # after --check, before anything was done
    unchanged: dict[str, dict[str, Any]]
    play: Play
    again: Play
    checked_again: Play

    def pi(self, name: str) -> Pi:
        return self.controller.pis[name]


@pytest.fixture(scope="module")
def deployed(bootstrapped: Controller, releases: Releases, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    deploy_plainly(bootstrapped, releases)
    src = tmp_path_factory.mktemp("files") / "two"
    src.write_text("from a file\n")
    file = src.with_name("users")
    pair = certificates.make(tmp_path_factory.mktemp("ca"))
    users.add(file, "alice", users.Role.VIEWER, PASSWORD)
    bootstrapped.own = {
        "pi1": {
            "pi_cam_daemon_rotation": 90,
            "pi_cam_daemon_allowed_networks_extra": [f"{OUTSIDE}/32"],
            "pi_cam_daemon_avahi": "true",
            "pi_cam_daemon_boot_status": True,
            "pi_cam_daemon_journal_in_memory": "true",
            "pi_cam_daemon_wifi_power_saving": True,
        },
        "pi2": {
            "pi_cam_daemon_port": "8080",
            "pi_cam_daemon_config_extra": {"upstream": {"url": UPSTREAM}},
            "pi_cam_daemon_files": [
                {"name": "one", "content": f"{PASSWORD}-1\n"},
                {"name": "two", "src": str(src)},
            ],
            "pi_cam_daemon_mqtt_password": f"{PASSWORD}-2",
        },
        "pi3": {
            "pi_cam_daemon_cameras": [{"name": "yard", "port": 8001, "rotation": 180}],
            "pi_cam_daemon_wall": "cameras",
        },
        "pi4": {
            "pi_cam_daemon_config_extra": {"source": {"capture": "on-demand", "idle_seconds": 1}},
            "pi_cam_daemon_allowed_networks": ["192.168.1.0/24"],
            "pi_cam_daemon_may_lock_out_controller": True,
            "pi_cam_daemon_users": file.read_text(),
            "pi_cam_daemon_tls_certificate": str(pair.certificate),
            "pi_cam_daemon_tls_key": str(pair.key),
        },
    }
    pis = bootstrapped.pis
    pis["pi1"].run("mkdir", "-p", str(Path(ANNOUNCEMENT).parent))

    def traces() -> dict[str, dict[str, Any]]:
        return {name: pi.trace() for name, pi in pis.items()}

    before = traces()
    checked = bootstrapped.play("site.yml", "--check", "--diff")
    unchanged = traces()
    play = bootstrapped.play("site.yml", "--diff", "-v")
    assert play.status == 0, play.said[-6000:]
    again = bootstrapped.deploys()
    converged = traces()
    checked_again = bootstrapped.play("site.yml", "--check", "--diff")
    assert traces() == converged, "--check has changed something"
    return Deployed(bootstrapped, before, checked, unchanged, play, again, checked_again)


def test_a_dry_run_shows_the_differences_and_makes_none(deployed: Deployed) -> None:
    assert deployed.checked.status == 0
    assert all(deployed.checked.changed().values())
    assert "+rotation = 90" in deployed.checked.said
    assert deployed.unchanged == deployed.before


def test_a_second_run_changes_nothing_and_neither_does_a_dry_one(deployed: Deployed, report: Report) -> None:
    assert set(deployed.again.changed().values()) == {0}
    assert deployed.checked_again.status == 0
    assert set(deployed.checked_again.changed().values()) == {0}
    report(f"{deployed.play.seconds:.1f} s for new settings on 4 hosts, {deployed.again.seconds:.1f} s for none")


def test_settings_are_reloaded_and_restart_nothing(deployed: Deployed) -> None:
    pi = deployed.pi("pi1")
    until("the rotation", lambda: pi.shows(90))
    assert pi.get("/snapshot", source=OUTSIDE)[0] == 200
    for name in ("pi1", "pi3", "pi4"):
        assert deployed.pi(name).pid() == deployed.before[name]["pid"], name


def test_avahi_announces_a_camera_where_that_is_asked_for(deployed: Deployed) -> None:
    assert "<port>8000</port>" in deployed.pi("pi1").run("cat", ANNOUNCEMENT)
    assert not (deployed.pi("pi3").disk / ANNOUNCEMENT[1:]).exists()


def test_a_host_has_what_is_asked_for_besides_the_camera(deployed: Deployed) -> None:
    asked, other = deployed.pi("pi1"), deployed.pi("pi3")
    assert asked.run("systemctl", "is-enabled", "pi-cam-daemon-boot-status.timer") == "enabled"
    assert "Storage=volatile" in asked.run("cat", "/etc/systemd/journald.conf.d/pi-cam-daemon.conf")
    assert (asked.disk / "etc/NetworkManager/conf.d/pi-cam-daemon.conf").read_text() == ""
    assert other.try_run("systemctl", "is-enabled", "pi-cam-daemon-boot-status.timer").stdout.strip() == "disabled"
    assert not (other.disk / "etc/NetworkManager/conf.d/pi-cam-daemon.conf").exists()


def test_a_new_port_causes_a_restart(deployed: Deployed) -> None:
    pi = deployed.pi("pi2")
    until("pictures", lambda: pi.shows(0, 8080))
    assert pi.pid() != deployed.before["pi2"]["pid"]
    assert f"http://{pi.address}:8080/" in deployed.play.report("pi2")


def test_a_host_serves_two_cameras(deployed: Deployed) -> None:
    pi = deployed.pi("pi3")
    until("pictures", lambda: pi.shows(0) and pi.shows(180, 8001))
    assert f"http://{pi.address}:8001/" in deployed.play.report("pi3@yard")


def test_a_sleeping_camera_counts_as_serving(deployed: Deployed) -> None:
    ask = "import json, urllib.request as r; print(json.load(r.urlopen('http://127.0.0.1:8000/healthz'))['state'])"
    until("sleep", lambda: deployed.pi("pi4").run("python3", "-c", ask) == "idle")


def test_users_have_to_log_in(deployed: Deployed) -> None:
    pi = deployed.pi("pi4")
    url = "http://127.0.0.1:8000/snapshot"
    assert pi.try_run("python3", "-c", f"import urllib.request as r; r.urlopen('{url}')").stderr.count("Error 401") == 1
    header = f"{{'Authorization': 'Basic {base64.b64encode(f'alice:{PASSWORD}'.encode()).decode()}'}}"
    ask = f"import urllib.request as r; print(r.urlopen(r.Request('{url}', headers={header})).status)"
    assert pi.run("python3", "-c", ask) == "200"
    assert pi.run("stat", "-c", "%a %U %G", f"{ETC}/users") == "640 root pi-cam-daemon"
    assert "$scrypt$" not in deployed.checked.said + deployed.play.said


def test_a_certificate_and_its_key_make_it_https(deployed: Deployed) -> None:
    pi = deployed.pi("pi4")
    assert f"https://{pi.address}:8000/" in deployed.play.report("pi4")
    ask = "import ssl; print(ssl.get_server_certificate(('127.0.0.1', 8000)))"
    assert pi.run("python3", "-c", ask).strip() == pi.run("cat", f"{ETC}/camera.pem").strip()
    modes = pi.run("stat", "-c", "%a %U %G", f"{ETC}/camera.pem", f"{ETC}/camera.key").splitlines()
    assert modes == ["640 root pi-cam-daemon"] * 2
    assert "PRIVATE KEY" not in deployed.checked.said + deployed.play.said


def test_locking_the_controller_out_needs_an_explicit_setting(deployed: Deployed) -> None:
    # where TLS is spoken a refusal is an alert; plain HTTP that is not refused would be answered in words
    with pytest.raises(ConnectionError):
        deployed.pi("pi4").get("/")


def test_the_wall_shows_the_cameras_of_the_group(deployed: Deployed) -> None:
    pi = deployed.pi("pi3")
    addresses = [f"http://{other.address}:8000" for other in deployed.controller.pis.values()]
    addresses[1] = addresses[1].replace("8000", "8080")
    addresses[3] = addresses[3].replace("http", "https")
    addresses.insert(3, f"http://{pi.address}:8001")
    for port in (8000, 8001):
        status, page = pi.get("/wall", port)
        assert status == 200
        links = [f'<a href="{address}/">' for address in addresses]
        assert [page.count(link.encode()) for link in links] == [1] * 5


def test_files_named_by_settings_are_readable_only_by_the_daemon(deployed: Deployed) -> None:
    pi = deployed.pi("pi2")
    assert pi.run("cat", f"{ETC}/one", f"{ETC}/two") == f"{PASSWORD}-1\nfrom a file"
    assert pi.run("cat", f"{ETC}/mqtt-password") == f"{PASSWORD}-2"
    assert f'password_file = "{ETC}/mqtt-password"' in pi.run("cat", f"{ETC}/config.toml")
    files = [f"{ETC}/{name}" for name in ("one", "two", "mqtt-password", "config.toml")]
    assert pi.run("stat", "-c", "%a %U %G", *files).splitlines() == ["640 root pi-cam-daemon"] * 4


def test_passwords_are_neither_shown_nor_logged(deployed: Deployed) -> None:
    pi = deployed.pi("pi2")
    assert PASSWORD in pi.run("cat", f"{ETC}/config.toml")
    assert PASSWORD not in deployed.checked.said + deployed.play.said
    journal = pi.run("journalctl", "--quiet", "--no-pager")
    # nor are the settings, which each task hands over
    assert PASSWORD not in journal and "[http]" not in journal
