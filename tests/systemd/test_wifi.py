"""NetworkManager knows the Wi-Fi of pi-cam.toml, and a network that it has lost is mended.

The Wi-Fi it knows before its first start and after it has rewritten the profile.
"""

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
WATCH, REBOOT_PATH = "pi-cam-daemon-network.service", "pi-cam-daemon-network-reboot.path"
REBOOT = "pi-cam-daemon-reboot.service"
PROGRAM = "/opt/pi-cam-daemon/current/bin/pi-cam-daemon"
PROFILE = "pi-cam-daemon"
FOLDER = "/etc/NetworkManager/system-connections"
# it leaves alone all interfaces but the one that a test gives it
LAB = "[keyfile]\nunmanaged-devices=*,except:interface-name:net0\n[main]\nno-auto-default=*\n"
WORKED = "/var/lib/pi-cam-daemon-network/worked"
LOSS = "/run/pi-cam-daemon-network/loss.json"
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
        host.write("/etc/NetworkManager/conf.d/lab.conf", LAB)
        conf = "NetworkManager/conf.d/pi-cam-daemon.conf"
        host.write(f"/usr/lib/{conf}", (ROOT / "systemd" / conf).read_text())
        shutil.copytree(ROOT / "pi_cam_daemon", host.disk / "srv/pi_cam_daemon")
        # late enough at the boot that NetworkManager has to be kept waiting
        late = "mkdir /run/booted 2>/dev/null && sleep 0.5"
        host.write(PROGRAM, f'#!/bin/sh\n{late}\nPYTHONPATH=/srv exec python3 -m pi_cam_daemon "$@"\n')
        (host.disk / PROGRAM[1:]).chmod(0o755)
        for unit in (BOOT, WATCH, REBOOT_PATH, REBOOT):
            shutil.copy(ROOT / "systemd" / unit, host.disk / "etc/systemd/system")
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


def test_networkmanager_tries_for_ever_and_lets_no_radio_sleep(pi: Pi) -> None:
    in_force = pi.host.run("NetworkManager", "--print-config").splitlines()
    assert "autoconnect-retries-default=0" in in_force
    assert "wifi.powersave=2" in in_force


class Network:
    """A host's only network with a router: net0, which NetworkManager manages, and the router in the lab."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._router = f"10.78.{host.address.split('.')[2]}.1"
        hosts.sh("ip", "link", "add", "router0", "type", "veth", "peer", "name", "net0", "netns", host.namespace)
        hosts.sh("ip", "link", "set", "router0", "up")
        self.give_router_its_address(True)
        ours = ["ipv4.method", "manual", "ipv4.addresses", f"{self._router[:-1]}2/24", "ipv4.gateway", self._router]
        host.run("nmcli", "connection", "add", "type", "ethernet", "ifname", "net0", "con-name", "wired", *ours)
        worked = host.disk / WORKED[1:]
        until("a router that answers", lambda: self.look() == "" and worked.exists())

    def give_router_its_address(self, gives: bool) -> None:
        """Have the router answer, or not; the cable stays in."""
        hosts.sh("ip", "address", "add" if gives else "del", f"{self._router}/24", "dev", "router0")

    def look(self) -> str:
        """Have the service look at the network; return its record of a loss, empty if there is none."""
        self.host.run("systemctl", "start", WATCH)
        return self.host.try_run("cat", LOSS).stdout

    def let_minutes_pass(self, minutes: int) -> None:
        loss = json.loads(self.host.run("cat", LOSS))
        for key in ("since", "mended"):
            if loss[key] is not None:
                loss[key] -= 60 * minutes
        self.host.run("sh", "-c", 'echo "$1" >"$2"', "sh", json.dumps(loss), LOSS)

    def close(self) -> None:
        self.host.run("nmcli", "connection", "delete", "wired")
        hosts.sh("ip", "link", "del", "router0")
        self.host.remove(WORKED)


@pytest.fixture
def network(pi: Pi) -> Iterator[Network]:
    network = Network(pi.host)
    yield network
    network.close()


def test_a_network_that_networkmanager_has_given_up_is_started_anew(network: Network) -> None:
    host = network.host
    # from now on it waits for somebody
    host.run("nmcli", "device", "disconnect", "net0")
    assert json.loads(network.look())["problem"] == "no address"
    number = host.show("NetworkManager.service", "MainPID")
    network.let_minutes_pass(9)
    assert json.loads(network.look())["mended"] is None
    network.let_minutes_pass(1)
    assert json.loads(network.look())["mended"]
    assert host.show("NetworkManager.service", "MainPID") != number
    until("the network", lambda: network.look() == "")
    told = host.run("cat", "/run/pi-cam-daemon-network/over")
    assert told.endswith("for 10 minutes, and came back after it was started anew")


@pytest.mark.parametrize("pi", ["bookworm"], indirect=True)
def test_a_router_that_answers_no_more_is_a_lost_network(network: Network) -> None:
    host = network.host
    network.give_router_its_address(False)
    assert json.loads(until("a loss", network.look))["problem"].endswith(".1 does not answer")
    for name, script in (("systemctl", "echo $* >>asked"), ("sleep", "exec /bin/sleep 0.1")):
        host.write(f"/opt/pretended/{name}", f"#!/bin/sh\n{script}\n")
        host.run("chmod", "755", f"/opt/pretended/{name}")
    path = "[Service]\nEnvironment=PATH=/opt/pretended:/usr/bin:/bin\n"
    host.write(f"/etc/systemd/system/{REBOOT}.d/test.conf", path)
    host.run("systemctl", "daemon-reload")
    asked = host.disk / "var/lib/pi-cam-daemon-reboot/asked"
    network.let_minutes_pass(40)
    host.run("systemctl", "start", REBOOT_PATH)
    network.look()
    until("a reboot", asked.exists)
    assert asked.read_text() == "--no-block reboot\n"
    # the next one has to wait for six hours, and is taken back
    until("the wish waits", lambda: host.show(REBOOT, "ActiveState") == "activating")
    network.give_router_its_address(True)
    until("the network", lambda: network.look() == "")
    host.run("touch", "-d", "7 hours ago", "/var/lib/pi-cam-daemon-reboot/last")
    until("nothing waits", lambda: host.show(REBOOT, "ActiveState") == "inactive")
    assert asked.read_text() == "--no-block reboot\n"
    host.run("systemctl", "stop", REBOOT_PATH)
