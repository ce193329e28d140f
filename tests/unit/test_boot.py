"""The steps of each boot from a card, in a file system of the test."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from pi_cam_daemon import __version__
from pi_cam_daemon.boot import first_boot, start, status_file, wifi
from pi_cam_daemon.config import users
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system import files, setup

LAYER = "etc/pi-cam-daemon/conf.d/pi-cam.toml"
AVAHI = "etc/avahi/services/pi-cam-daemon.service"
USERS = "etc/pi-cam-daemon/pi-cam.users"
ISSUE = "etc/issue.d/pi-cam-daemon.issue"
CONNECTION = "etc/NetworkManager/system-connections/pi-cam-daemon.nmconnection"


class Card:
    """The root file system of a new image, in a Pi with a serial number."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hostname = self.country = ""
        self.write("etc/hostname", "raspberrypi\n")
        self.write("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")
        self.write("sys/firmware/devicetree/base/serial-number", "10000000abcdef12\0")
        self.write("etc/avahi/services/.keep", "")
        self.write("boot/firmware/cmdline.txt", "")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def boot(self) -> None:
        def set_hostname(name: str) -> None:
            self.hostname = name

        def set_country(country: str) -> None:
            self.country = country

        start.run(self.root, set_hostname, set_country)

    def settings(self, text: str) -> None:
        self.write("boot/firmware/pi-cam.toml", text)


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return Card(tmp_path)


def test_a_card_is_named_after_the_board(card: Card) -> None:
    card.boot()
    assert card.hostname == "picam-cdef12"
    assert card.read("etc/hostname") == "picam-cdef12\n"
    assert card.read("etc/hosts") == "127.0.0.1\tlocalhost\n127.0.1.1\tpicam-cdef12\n"


def test_a_chosen_host_name_stays(card: Card) -> None:
    card.write("etc/hostname", "garden\n")
    card.boot()
    assert (card.hostname, card.read("etc/hostname")) == ("", "garden\n")


def test_a_board_without_a_serial_number_is_named_after_its_network_interface(card: Card) -> None:
    card.write("sys/firmware/devicetree/base/serial-number", "\0")
    card.write("sys/class/net/lo/address", "00:00:00:00:00:00\n")
    card.write("sys/class/net/eth0/address", "b8:27:eb:12:34:56\n")
    card.write("sys/class/net/eth0/device/driver", "")
    card.boot()
    assert card.hostname == "picam-123456"


def test_settings_of_the_card_become_a_layer_of_the_configuration(card: Card) -> None:
    card.settings("[video]\nrotation = 90\n[http]\nallowed_networks = ['10.0.0.0/8']\n")
    card.boot()
    assert 'rotation = 90\n\n[http]\nallowed_networks = ["10.0.0.0/8"]' in card.read(LAYER)


def test_settings_that_are_wrong_leave_the_last_good_ones_in_force(card: Card) -> None:
    card.settings("[video]\nrotation = 90\n")
    card.boot()
    card.settings("[video]\nrotation = 91\nwidth = 320\n")
    with pytest.raises(ConfigError, match="91"):
        card.boot()
    assert "rotation = 90" in card.read(LAYER) and "width" not in card.read(LAYER)
    told = status_file.settings(card.root)
    assert told[0].startswith("pi-cam.toml: video.rotation: 91")
    assert told[1] == "The last correct settings are in use."


def test_a_wrong_file_below_etc_is_told_with_what_is_in_force(card: Card) -> None:
    card.write("etc/pi-cam-daemon/config.toml", "video.rotation = 91\n")
    told = status_file.settings(card.root)
    assert told[0].endswith("config.toml: video.rotation: 91 cannot be used; accepted: 0 or 90 or 180 or 270")
    assert told[1] == "There are no correct settings, so the camera does not start."
    copy = "# the last good configuration of '/etc/pi-cam-daemon'\nhttp.port = 8081\n"
    card.write("var/lib/pi-cam-daemon/last-good.toml", copy)
    assert status_file.settings(card.root) == [told[0], "The last correct settings are in use."]
    card.boot()
    services = ElementTree.fromstring(card.read(AVAHI)).findall("service")
    assert services[0].findtext("port") == "8081", "that one is announced"


def test_settings_are_reported_in_force_only_when_they_are(card: Card) -> None:
    card.settings("[video]\nrotation = 90\n")
    card.boot()
    assert status_file.settings(card.root) == ["in use as in pi-cam.toml"]
    # by somebody who is logged in, or at a boot that could not write to a full card
    card.settings("[video]\nrotation = 180\n")
    assert "switch the camera off and on to apply it" in status_file.settings(card.root)[0]


def test_the_file_that_counts_of_two_is_reported(card: Card) -> None:
    card.settings("[video]\nrotation = 90\n")
    card.write("boot/firmware/pi-cam.toml.txt", "[video]\nrotation = 180\n")
    card.boot()
    assert "rotation = 180" in card.read(LAYER)
    assert status_file.settings(card.root) == [
        "in use as in pi-cam.toml.txt",
        "pi-cam.toml is ignored because there is pi-cam.toml.txt; remove one of them",
    ]


def test_a_password_that_is_still_on_the_card_is_reported(card: Card) -> None:
    card.settings('wifi = { ssid = "home", country = "KR", password = "a secret one" }\n')
    with pytest.raises(ConfigError, match="remove them yourself"):
        card.boot()
    assert "psk=" in card.read(CONNECTION)
    told = status_file.settings(card.root)
    assert "A password is still in pi-cam.toml; remove it yourself" in told
    assert "a secret one" not in str(told)


def test_a_password_stays_on_the_card_until_it_is_kept_elsewhere(card: Card) -> None:
    """If NetworkManager's folder cannot be written, on a full card for example, the password must not be lost."""
    card.settings('[wifi]\nssid = "home"\npassword = "a secret one"\ncountry = "KR"\n')
    card.write("etc/NetworkManager/system-connections", "a file in the place of the folder")
    with pytest.raises(OSError):
        card.boot()
    assert "a secret one" in card.read("boot/firmware/pi-cam.toml")
    (card.root / "etc/NetworkManager/system-connections").unlink()
    card.boot()
    assert "psk=" in card.read(CONNECTION) and "secret" not in card.read("boot/firmware/pi-cam.toml")


def test_a_card_with_wrong_settings_still_has_a_name_and_announces_itself(card: Card) -> None:
    card.settings("[video\n")
    with pytest.raises(ConfigError):
        card.boot()
    assert card.hostname and (card.root / AVAHI).exists()


def test_the_page_is_announced_at_the_port_in_force(card: Card) -> None:
    card.settings("[http]\nport = 8080\n")
    card.boot()
    services = ElementTree.fromstring(card.read(AVAHI)).findall("service")
    assert [(service.findtext("type"), service.findtext("port")) for service in services] == [
        ("_http._tcp", "8080"),
        ("_pi-cam._tcp", "8080"),
    ]
    assert card.read(ISSUE).startswith("Camera: http://\\n.local:8080/  http://\\4:8080/")


def test_the_login_screen_shows_an_https_address(card: Card) -> None:
    card.settings("[http]\ntls_certificate = '/etc/ssl/camera.pem'\ntls_key = '/etc/ssl/camera.key'\n")
    card.boot()
    assert card.read(ISSUE).startswith("Camera: https://\\n.local:8000/  https://\\4:8000/")


def test_the_announcement_has_no_serial_number_and_no_networks(card: Card) -> None:
    card.settings("[http]\nallowed_networks = ['10.9.8.0/24']\n")
    card.boot()
    assert "abcdef12" not in card.read(AVAHI) and "10.9.8" not in card.read(AVAHI)


def test_a_second_boot_writes_nothing(card: Card) -> None:
    card.settings('[video]\nrotation = 90\n[wifi]\nssid = "home"\npassword = "a secret one"\ncountry = "KR"\n')
    card.boot()
    before = {path: path.stat().st_mtime_ns for path in card.root.rglob("*")}
    card.boot()
    assert {path: path.stat().st_mtime_ns for path in card.root.rglob("*")} == before


def test_wifi_is_handed_to_networkmanager_and_the_password_leaves_the_card(card: Card) -> None:
    card.settings('[wifi]\nssid = "집 wifi"\npassword = "p\\\\ss w;rd"\ncountry = "kr"\n')
    card.write("var/lib/NetworkManager/NetworkManager.state", "[main]\nNetworkingEnabled=true\nWirelessEnabled=false\n")
    card.write("var/lib/systemd/rfkill/platform-3f300000.mmcnr:wlan", "1\n")
    card.write("sys/class/rfkill/rfkill0/type", "wlan\n")
    card.write("sys/class/rfkill/rfkill0/soft", "1\n")
    assert wifi.blocked(card.root)
    card.boot()
    assert card.read(CONNECTION).split("\n") == [
        "[connection]", "id=pi-cam-daemon", "uuid=a76925cd-aa28-3391-9771-f31866d95a7a", "type=wifi", "",
        "[wifi]", "mode=infrastructure", "ssid=236;167;145;32;119;105;102;105;", "",
        "[wifi-security]", "key-mgmt=wpa-psk", "psk=p\\\\ss\\sw;rd", "",
        "[ipv4]", "method=auto", "", "[ipv6]", "method=auto", "",
    ]  # fmt: skip
    assert stat.S_IMODE((card.root / CONNECTION).stat().st_mode) == 0o600
    assert "p\\\\ss" not in card.read("boot/firmware/pi-cam.toml")
    assert card.read("etc/modprobe.d/pi-cam-daemon-wifi.conf") == "options cfg80211 ieee80211_regdom=KR\n"
    assert "WirelessEnabled=true" in card.read("var/lib/NetworkManager/NetworkManager.state")
    assert card.read("var/lib/systemd/rfkill/platform-3f300000.mmcnr:wlan") == "0\n"
    assert not wifi.blocked(card.root)
    assert card.country == "KR"


def test_users_are_kept_as_hashes_and_their_passwords_leave_the_card(card: Card) -> None:
    card.settings('[viewers]\nanna = "a secret one"\n"한나" = "한나의 비밀번호"\n[admins]\nben = "another secret"\n')
    card.boot()
    found = users.read(card.root / USERS)
    assert {name: str(user.role) for name, user in found.items()} == {
        "anna": "viewer",
        "한나": "viewer",
        "ben": "admin",
    }
    assert found["한나"].key == users.derive("한나의 비밀번호", found["한나"].salt)
    assert card.read("boot/firmware/pi-cam.toml") == '[viewers]\nanna = ""\n"한나" = ""\n[admins]\nben = ""\n'
    assert 'users_file = "/etc/pi-cam-daemon/pi-cam.users"' in card.read(LAYER)
    assert status_file.settings(card.root) == ["in use as in pi-cam.toml"]
    # at the next boot one has gone, another may change more than before, and nobody has a new password
    card.settings('[admins]\nanna = ""\nben = ""\n')
    card.boot()
    later = users.read(card.root / USERS)
    assert {name: str(user.role) for name, user in later.items()} == {"anna": "admin", "ben": "admin"}
    assert later["anna"].key == found["anna"].key and later["ben"] == found["ben"]
    # without any, everybody of the network may look
    card.settings("")
    card.boot()
    assert "users_file" not in card.read(LAYER)


def test_a_user_with_a_hash_instead_of_a_password_keeps_it_on_the_card(card: Card) -> None:
    line = users.entry("anna", users.Role.VIEWER, "a secret one")
    text = f'[viewers]\nanna = "{line.rpartition(":")[2]}"\n'
    card.settings(text)
    card.boot()
    assert card.read(USERS) == f"{line}\n"
    assert card.read("boot/firmware/pi-cam.toml") == text


def test_a_user_without_a_password_is_reported_and_changes_nothing(card: Card) -> None:
    card.settings('[viewers]\nanna = "a secret one"\n')
    card.boot()
    before = card.read(USERS)
    card.settings('[video]\nrotation = 90\n[viewers]\nanna = ""\nben = ""\n')
    with pytest.raises(ConfigError, match=r"pi-cam.toml: ben: has no password yet"):
        card.boot()
    assert card.read(USERS) == before and "rotation" not in card.read(LAYER)
    assert "has no password yet" in status_file.settings(card.root)[0]


def test_the_blanked_password_is_remembered(card: Card) -> None:
    card.settings('[wifi]\nssid = "home"\npassword = "a secret one"\ncountry = "KR"\n')
    card.boot()
    card.boot()
    assert "psk=a\\ssecret\\sone" in card.read(CONNECTION)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("home", "ssid=home"),
        ("home", " ssid = home"),
        ("home", "ssid=104;111;109;101;"),
        ("home", "ssid= 104 ; 111;109; 101 ;"),
        (" home ", r"ssid=\shome\s"),
        ("16;17;", r"ssid=16\\;17\\;"),
        (r"a\sb", r"ssid=a\\sb"),
        ("16", "ssid=16"),
        ("16;17", "ssid=16;17"),
        ("300;", "ssid=300;"),
        ("집", "ssid=집"),
    ],
)
@pytest.mark.parametrize("folder", ["etc", "run"])
def test_a_network_that_networkmanager_knows_gets_no_second_profile(
    card: Card, folder: str, name: str, line: str
) -> None:
    """It rewrites a profile in its own way, and netplan, where there is one, brings it from elsewhere."""
    profile = f"{folder}/NetworkManager/system-connections/mine.nmconnection"
    card.write(profile, f"[connection]\nid=mine\n\n[wifi]\nbssid=1\n{line}\n\n[wifi-security]\npsk=a secret one\n")
    text = f"[wifi]\nssid = {json.dumps(name)}\ncountry = 'KR'\n"
    card.settings(text)
    card.boot()
    assert not (card.root / CONNECTION).exists()
    # a new key is for it nevertheless, and another network is another one
    card.settings(f"{text}password = 'another secret'\n")
    card.boot()
    assert "psk=another" in card.read(CONNECTION)
    (card.root / CONNECTION).unlink()
    card.settings("[wifi]\nssid = 'hom'\ncountry = 'KR'\n")
    card.boot()
    assert "psk" not in card.read(CONNECTION)


def test_a_country_alone_leaves_the_network_and_a_new_password_replaces_the_old_one(tmp_path: Path) -> None:
    connection = tmp_path / CONNECTION
    wifi.configure(wifi.Wifi("", "", "KR"), tmp_path)
    assert not connection.exists()
    for password in ("a secret one", "another one"):
        wifi.configure(wifi.Wifi("home", password, "KR"), tmp_path)
        assert password.replace(" ", "\\s") in connection.read_text()
    wifi.configure(wifi.Wifi("", "", "KR"), tmp_path)
    assert "another" in connection.read_text()


@pytest.mark.parametrize("error", [None, FileNotFoundError(), subprocess.TimeoutExpired("iw", 10)])
def test_the_radio_is_told_its_country_if_it_listens(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    told: list[object] = []

    def run(argv: list[str], *, check: bool, timeout: float) -> None:
        told.append((argv, check, timeout))
        if error:
            raise error

    monkeypatch.setattr(subprocess, "run", run)
    wifi.set_country("KR")
    assert told == [(["iw", "reg", "set", "KR"], False, 10)]


def test_a_new_network_without_a_password_is_open(card: Card) -> None:
    card.settings('[wifi]\nssid = "home"\npassword = "a secret one"\ncountry = "KR"\n')
    card.boot()
    card.settings('[wifi]\nssid = "café"\npassword = ""\ncountry = "KR"\n')
    card.boot()
    assert "psk" not in card.read(CONNECTION)


def test_a_profile_that_netplan_keeps_gives_way_to_a_new_one(card: Card) -> None:
    card.settings('[wifi]\nssid = "home"\npassword = "a secret one"\ncountry = "KR"\n')
    mine = "NM-a76925cd-aa28-3391-9771-f31866d95a7a"
    other = ["etc/netplan/90-NM-1.yaml", "run/NetworkManager/system-connections/netplan-NM-1-home.nmconnection"]
    moved = [path.replace("NM-1", mine) for path in other]
    for path in moved + other:
        card.write(path, "")
    card.boot()
    assert [path for path in moved + other if (card.root / path).exists()] == other


def test_the_status_file_reports_addresses_camera_and_settings() -> None:
    text = status_file.compose(
        ["pi-cam.toml: video.rotation: 91 cannot be used"], ["http://192.168.1.5:8000/"], "imx708, 640x480", "0.1-abc",
        blocked="set country", network="lost since noon", setup="",
        free=16_777_216,  # what statvfs says of a card on which nothing can be written
    )  # fmt: skip
    for words in ("91 cannot be used", "192.168.1.5", "imx708", "0.1-abc", "country", "since noon", "Card      full"):
        assert words in text


def test_the_status_file_tells_a_missing_camera_with_the_hint() -> None:
    camera = {"name": "Test picture", "width": 640, "height": 480}
    state = {"ok": False, "detail": "No camera: none", "hint": "Plug it in", "camera": camera, "source": {"reason": ""}}
    assert status_file.camera_line(state) == "No camera: none. Plug it in"
    assert status_file.camera_line({**state, "ok": True, "detail": "", "hint": ""}) == "Test picture, 640x480"


def test_the_status_file_opens_in_any_editor_and_is_written_only_when_it_changes(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_file, "_last_log_line", lambda: "")  # of the service; no journalctl is asked
    card.boot()
    status_file.write(card.root)
    file = card.root / "boot/firmware/pi-cam-status.txt"
    data = file.read_bytes()
    assert data.startswith(b"\xef\xbb\xbfpi-cam-daemon\r\n") and b"\n" not in data.replace(b"\r\n", b"")
    before = file.stat().st_ino
    status_file.write(card.root)
    assert file.stat().st_ino == before


def test_the_login_screen_shows_the_name_that_avahi_chose(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_file, "_last_log_line", lambda: "")
    monkeypatch.setattr(socket, "gethostname", lambda: "picam-cdef12")
    card.boot()
    at_boot = card.read(ISSUE)
    for name in ("picam-cdef12-2.local", "picam-cdef12-13.local", "Hall.local"):
        addresses = ["http://192.168.1.5:8000/", "http://[2001:db8::5]:8000/", f"http://{name}:8000/"]
        monkeypatch.setattr(status_file, "_addresses", lambda _, addresses=addresses: addresses)
        status_file.write(card.root)
        assert card.read(ISSUE) == f"Camera: http://{name}:8000/  http://\\4:8000/\n\n"
    for addresses in (["http://192.168.1.5:8000/", "http://Picam-cdef12.local:8000/"], []):
        monkeypatch.setattr(status_file, "_addresses", lambda _, addresses=addresses: addresses)
        status_file.write(card.root)
        assert card.read(ISSUE) == at_boot


def test_a_missing_settings_file_is_reported(card: Card) -> None:
    card.boot()
    assert status_file.settings(card.root)[0] == "pi-cam.toml is missing"


def test_the_status_file_of_another_host_speaks_of_its_own_files(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_file, "_last_log_line", lambda: "")
    status_file.write(card.root)
    text = card.read("boot/firmware/pi-cam-status.txt")
    assert "Settings  in use as in /etc/pi-cam-daemon\n" in text
    assert f"Release   {__version__}\n" in text
    assert not (card.root / ISSUE).exists(), "its login is its owner's"


def test_a_file_is_replaced_in_one_step_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    assert files.replace(path, b"one", 0o600)
    assert not files.replace(path, b"one", 0o600)
    with path.open("rb") as reader:
        assert files.replace(path, b"two", 0o600)
        assert reader.read() == b"one"
    assert path.read_bytes() == b"two" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["file"]  # noqa: PTH208


def test_missing_parts_of_the_image_are_reported_from_the_start(card: Card) -> None:
    assert setup.progress(card.root) == ""
    # a power cut at the end of it may leave the folder
    (card.root / setup.FOLDER).mkdir(parents=True)
    assert setup.progress(card.root) == ""
    card.write("var/lib/pi-cam-daemon-first-boot/artefact.tar.zst", "")
    assert setup.progress(card.root).endswith("is about to be installed")
    card.write("run/pi-cam-daemon-first-boot", "it is being installed\n")
    assert setup.progress(card.root) == "it is being installed"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "install: apt: installing python3-picamera2\n"
            "install: apt-get -y -qq install python3-picamera2: W: Failed to fetch http://deb.debian.org/;"
            " E: Unable to locate package python3-picamera2; install it yourself, or go without: --no-apt",
            "Unable to locate package python3-picamera2",
        ),
        ("E: Could not get lock\nE: Unable to lock directory", "Could not get lock; Unable to lock directory"),
        ("install: preparing 0.2\ninstall: no space left", "install: no space left"),
    ],
)
def test_the_reason_for_a_failed_first_boot_is_one_sentence(said: str, reason: str) -> None:
    assert first_boot.reason(said) == reason
