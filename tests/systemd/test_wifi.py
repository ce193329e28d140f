"""NetworkManager knows the Wi-Fi of pi-cam.toml, before its first start and after it has rewritten the profile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.daemon import ROOT
from tests.kit.wait import until
from tests.systemd import hosts
from tests.systemd.hosts import Host

BOOT = "pi-cam-daemon-boot.service"
PROGRAM = "/opt/pi-cam-daemon/current/bin/pi-cam-daemon"
PROFILE = "pi-cam-daemon"
FOLDER = "/etc/NetworkManager/system-connections"
HEX = "0123456789abcdef" * 4
NETWORKS = {
    "home": "a secret one",
    "집 wifi": "p\\ss w;rd",
    "  blanks  ": "  at both ends ",
    "#1; \\ = [a]": "# \\s\\; = 'a' \"b\" %;",
    "16;17;": "12345678",
    "12": HEX,
    "s" * 32: "~" * 63,
    "é" * 16: "",
}

# with libnetplan's own reader and writer: the profile in the file becomes YAML in /etc/netplan
TO_NETPLAN = """
import configparser, ctypes, sys
netplan = ctypes.CDLL("libnetplan.so.1")
for name in ("parser_new", "state_new", "state_get_netdef"):
    getattr(netplan, "netplan_" + name).restype = ctypes.c_void_p
parser, state = (ctypes.c_void_p(netplan[f"netplan_{name}_new"]()) for name in ("parser", "state"))
assert netplan.netplan_parser_load_keyfile(parser, sys.argv[1].encode(), None)
assert netplan.netplan_state_import_parser_results(state, parser, None)
keyfile = configparser.RawConfigParser()
keyfile.read(sys.argv[1])
network = netplan.netplan_state_get_netdef(state, f"NM-{keyfile['connection']['uuid']}".encode())
assert netplan.netplan_netdef_write_yaml(state, ctypes.c_void_p(network), None, None)
"""


class Pi:
    """A host whose boots are a card's: pi-cam-daemon-boot.service, then NetworkManager."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def boot(self, ssid: str, password: str = "") -> None:
        """Run the boot's units with this network in pi-cam.toml."""
        self.write(ssid, password)
        self.host.run(PROGRAM, "boot")
        self.nmcli("connection", "reload")

    def write(self, ssid: str, password: str) -> None:
        # JSON's strings are TOML's
        lines = ["[wifi]", 'country = "KR"', f"ssid = {json.dumps(ssid)}", f"password = {json.dumps(password)}", ""]
        self.host.write("/boot/firmware/pi-cam.toml", "\n".join(lines))

    def nmcli(self, *argv: str) -> None:
        self.host.run("nmcli", *argv)

    def must_have(self, ssid: str, password: str) -> None:
        """Fail unless NetworkManager has this in its profile; nmcli may see a new one without its key for a moment."""
        until(f"{ssid!r} with {password!r}", lambda: self._network() == (ssid, password))

    def _network(self) -> tuple[str, str]:
        fields = "802-11-wireless.ssid,802-11-wireless-security.psk"
        argv = ("nmcli", "--show-secrets", "--escape", "no", "--get-values", fields, "connection", "show", PROFILE)
        # not `run`, which takes blanks from the ends
        ssid, *key = self.host.try_run(*argv).stdout.removesuffix("\n").split("\n")
        return ssid, "\n".join(key)

    def move_to_netplan(self) -> None:
        """Move the profile from its file to netplan, as Raspberry Pi's NetworkManager does when it changes one."""
        self.host.run("python3", "-c", TO_NETPLAN, f"{FOLDER}/{PROFILE}.nmconnection")
        self.host.remove(f"{FOLDER}/{PROFILE}.nmconnection")
        self.host.run("/usr/libexec/netplan/generate")
        self.nmcli("connection", "reload")


@pytest.fixture(scope="module", params=hosts.SUITES)
def pi(request: pytest.FixtureRequest, lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pi]:
    suite: str = request.param
    host = Host(suite, 31 + hosts.SUITES.index(suite), tmp_path_factory.mktemp(suite), lab)
    try:
        for deb in (hosts.CACHE / suite / "network-manager").glob("*.deb"):
            # no scripts: what they do is not needed here
            unpack = 'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"'
            hosts.sh("sh", "-c", unpack, "sh", deb, host.disk)
        host.write("/etc/NetworkManager/conf.d/lab.conf", "[keyfile]\nunmanaged-devices=*\n[main]\nno-auto-default=*\n")
        shutil.copytree(ROOT / "pi_cam_daemon", host.disk / "srv/pi_cam_daemon")
        # late enough at the boot that NetworkManager has to be kept waiting
        late = "mkdir /run/booted 2>/dev/null && sleep 0.5"
        host.write(PROGRAM, f'#!/bin/sh\n{late}\nPYTHONPATH=/srv exec python3 -m pi_cam_daemon "$@"\n')
        (host.disk / PROGRAM[1:]).chmod(0o755)
        shutil.copy(ROOT / "systemd" / BOOT, host.disk / "etc/systemd/system")
        hosts.sh("systemctl", f"--root={host.disk}", "--quiet", "enable", BOOT, "NetworkManager.service")
        pi = Pi(host)
        pi.write("home", "a secret one")
        host.boot()
        # whoever looks at another one changes the card first
        pi.must_have("home", "a secret one")
        yield pi
    finally:
        host.close()


@pytest.mark.parametrize(("ssid", "password"), NETWORKS.items())
def test_networkmanager_has_the_name_and_the_key_of_pi_cam_toml(pi: Pi, ssid: str, password: str) -> None:
    pi.boot(ssid, password)
    pi.must_have(ssid, password)
    # it writes the file anew, in its own way
    pi.nmcli("connection", "modify", PROFILE, "ipv6.method", "ignore")
    pi.boot(ssid)
    pi.must_have(ssid, password)


def test_a_new_password_replaces_the_one_of_a_rewritten_profile(pi: Pi) -> None:
    pi.boot("home", "a secret one")
    pi.nmcli("connection", "modify", PROFILE, "ipv6.method", "ignore")
    pi.boot("home", "another secret")
    pi.must_have("home", "another secret")


def test_a_profile_of_another_name_keeps_its_network_from_being_opened(pi: Pi) -> None:
    pi.boot("office", "a secret one")
    profile = ["type", "wifi", "con-name", "mine", "ssid", "home", "wifi-sec.key-mgmt", "wpa-psk"]
    pi.nmcli("connection", "add", *profile, "wifi-sec.psk", "my own secret")
    try:
        pi.boot("home")
        pi.must_have("office", "a secret one")
    finally:
        pi.nmcli("connection", "delete", "mine")


@pytest.mark.parametrize("pi", ["trixie"], indirect=True)
@pytest.mark.parametrize(("ssid", "password"), list(NETWORKS.items())[:-1])
def test_a_profile_that_netplan_keeps_keeps_its_key_and_gets_a_new_one(pi: Pi, ssid: str, password: str) -> None:
    pi.boot(ssid, password)
    pi.nmcli("connection", "modify", PROFILE, "ipv6.method", "ignore")
    pi.move_to_netplan()
    pi.must_have(ssid, password)
    pi.boot(ssid)
    pi.must_have(ssid, password)
    pi.boot(ssid, "another secret")
    pi.must_have(ssid, "another secret")
