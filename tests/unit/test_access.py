from __future__ import annotations

import ipaddress
import logging
import threading
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from pi_cam_daemon.config.addresses import Networks
from pi_cam_daemon.server.access import Access, AllowedNetworks, Client
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.request import Request, parse
from pi_cam_daemon.system.network import Interface


def interface(address: str) -> Interface:
    parsed = ipaddress.ip_interface(address)
    return Interface("eth0", parsed.ip, parsed.network)


class Machine:
    """Interfaces whose addresses change, and a clock that is set by hand."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        self.reads = 0
        self.now = 1000.0

    def interfaces(self) -> Iterable[Interface]:
        self.reads += 1
        return [interface(address) for address in self.addresses]

    def allowed(self, *entries: str) -> AllowedNetworks:
        return AllowedNetworks(Networks(entries), self.interfaces, lambda: self.now)


HOME = ("192.168.1.5/24", "203.0.113.5/24", "2001:db8:1:2::5/64", "fe80::5/64", "2001:db8:9::9/128")


@pytest.mark.parametrize(
    "peer",
    [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "::ffff:127.0.0.1",
        "10.0.0.1",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "192.168.255.255",
        "169.254.3.4",
        "::ffff:192.168.1.7",
        "fe80::1",
        "fe80::1%eth0",
        "fe80::1%2",
        "fd12:3456::1",
        "fc00::1",
        "2001:db8:1:2::77",
        "2001:db8:1:2:ffff:ffff:ffff:ffff",
        "2001:db8:9::9",
    ],
)
def test_local_allows(peer: str) -> None:
    assert Machine(*HOME).allowed("local").contains(peer)


@pytest.mark.parametrize(
    "peer",
    [
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "169.253.255.255",
        "100.64.0.1",  # shared with the other customers of the provider
        "0.0.0.0",
        "192.0.2.1",  # documentation, which is_private counts as private
        "198.18.0.1",  # benchmarks, likewise
        "240.0.0.1",  # reserved, likewise
        "203.0.113.6",  # next to this machine's own, public IPv4 address
        "::ffff:8.8.8.8",
        "::",
        "2001:db8:1:3::77",
        "2001:db8:9::8",
        "2a00::1",
        "fec0::1",
        "64:ff9b::c0a8:101",  # 192.168.1.1 behind a translator
        "2002:c0a8:101::1",  # 192.168.1.1 in a tunnel
        "",
        "%eth0",
        "garden.local",
        "192.168.1",
        "192.168.1.7:80",
        "[fe80::1]",
        "local",
    ],
)
def test_local_denies(peer: str) -> None:
    assert not Machine(*HOME).allowed("local").contains(peer)


@pytest.mark.parametrize(
    ("entry", "peer"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9", "::ffff:203.0.113.9"),
        ("203.0.113.0/24", "203.0.113.255"),
        ("203.0.113.77/24", "203.0.113.1"),
        ("::ffff:203.0.113.0/120", "203.0.113.1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("0.0.0.0/0", "8.8.8.8"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8:ffff::1"),
        ("::/0", "2a00::1"),
    ],
)
def test_a_network_allows(entry: str, peer: str) -> None:
    assert Machine(*HOME).allowed(entry).contains(peer)


@pytest.mark.parametrize(
    ("entry", "peer"),
    [
        ("203.0.113.9", "203.0.113.8"),
        ("203.0.113.0/24", "203.0.114.0"),
        ("203.0.113.0/24", "192.168.1.7"),
        ("203.0.113.77/24", "203.0.112.77"),
        ("0.0.0.0/0", "2a00::1"),
        ("::/0", "8.8.8.8"),
        ("::/0", "::ffff:8.8.8.8"),
        ("2001:db8::1", "2001:db8::2"),
        ("2001:db8::/32", "2001:db9::1"),
        ("2001:db8::/32", "2001:db8:1:2::77x"),
        ("203.0.113.0/24", "2001:db8:1:2::77"),
    ],
)
def test_a_network_denies(entry: str, peer: str) -> None:
    assert not Machine(*HOME).allowed(entry).contains(peer)


def test_loopback_is_allowed_even_by_an_empty_list() -> None:
    nobody = Machine(*HOME).allowed()
    assert nobody.contains("127.0.0.1")
    assert nobody.contains("::1")
    assert not nobody.contains("192.168.1.7")


def test_several_entries_add_up() -> None:
    allowed = Machine(*HOME).allowed("local", "100.64.0.0/10", "2a00::/16")
    assert all(map(allowed.contains, ["192.168.1.7", "100.64.0.1", "2a00::1"]))
    assert not allowed.contains("8.8.8.8")


def test_own_prefixes_are_allowed_only_with_local() -> None:
    machine = Machine(*HOME)
    assert not machine.allowed("10.0.0.0/8").contains("2001:db8:1:2::77")
    assert machine.reads == 0


@pytest.mark.parametrize("tunnel", ["2002:c000:204::1/16", "2001:0:53aa:64c::1/32", "2001:db8::1/47"])
def test_the_prefix_of_a_tunnel_to_the_internet_is_not_local(tunnel: str) -> None:
    peer = str(ipaddress.ip_interface(tunnel).network.network_address + 0x1234)
    assert not Machine(tunnel).allowed("local").contains(peer)


def test_the_largest_prefix_that_a_site_gets_is_local() -> None:
    assert Machine("2001:db8:1::1/48").allowed("local").contains("2001:db8:1:ffff::1")


def test_a_new_prefix_is_allowed_and_the_old_one_denied_ten_seconds_later() -> None:
    machine = Machine("2001:db8:1:2::5/64")
    allowed = machine.allowed("local")
    assert allowed.contains("2001:db8:1:2::77")
    machine.addresses = ["2001:db8:7:7::5/64"]
    machine.now += 9.9
    assert allowed.contains("2001:db8:1:2::77")
    assert not allowed.contains("2001:db8:7:7::77")
    machine.now += 0.1
    assert allowed.contains("2001:db8:7:7::77")
    assert not allowed.contains("2001:db8:1:2::77")


def test_a_flood_of_unknown_peers_reads_the_interfaces_once_in_ten_seconds() -> None:
    machine = Machine(*HOME)
    allowed = machine.allowed("local")
    for number in range(100):
        assert not allowed.contains(f"2a00::{number:x}")
    assert machine.reads == 1


def test_peers_that_need_no_prefix_never_read_the_interfaces() -> None:
    machine = Machine(*HOME)
    allowed = machine.allowed("local")
    for peer in ("192.168.1.7", "8.8.8.8", "fe80::1%eth0", "::ffff:8.8.8.8"):
        allowed.contains(peer)
    assert machine.reads == 0


def test_host_bits_are_cleared_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Machine().allowed("203.0.113.77/24", "2001:db8::/32", "203.0.113.9", "local")
    assert [record.getMessage() for record in caplog.records] == [
        "http.allowed_networks: 203.0.113.77/24 has host bits set, taken as 203.0.113.0/24"
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "",
        " 192.168.1.1",
        "192.168.1",
        "192.168.1.0/",
        "192.168.1.0/33",
        "192.168.1.0/-1",
        "192.168.1.0/24/24",
        "192.168.1.0/255.255.255.0",
        "0.0.0.0/0.0.0.0",
        "192.168.1.1-9",
        "192.168.1.*",
        "192.168.001.1",
        "192.168.1.1:80",
        "fe80::1%eth0",
        "2001:db8::/129",
        "[2001:db8::1]",
        "2001:db8::1::",
        "garden.local",
        "Local",
        "all",
        "٣.3.3.3",
        "10.0.0.0/٨",
    ],
)
def test_an_invalid_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="neither an address nor a network"):
        Networks([entry])
    with pytest.raises(ValueError, match="neither an address nor a network"):
        Networks(["local", entry])


def test_a_failed_read_of_the_interfaces_keeps_the_last_addresses(caplog: pytest.LogCaptureFixture) -> None:
    now, broken = 0.0, False

    def read() -> list[Interface]:
        if broken:
            raise OSError(24, "Too many open files")
        return [Interface("eth0", ipaddress.ip_address("2001:db8:1::1"), ipaddress.ip_network("2001:db8:1::/64"))]

    networks = AllowedNetworks(Networks(["local"]), read, lambda: now)
    assert networks.contains("2001:db8:1::7")
    now, broken = 100.0, True
    assert networks.contains("2001:db8:1::7")
    assert not networks.contains("2001:db8:2::7")
    assert "the addresses of this machine cannot be read: [Errno 24] Too many open files" in caplog.text


def test_a_peer_is_judged_while_another_thread_reads_the_addresses() -> None:
    reading, go_on = threading.Event(), threading.Event()

    def read() -> list[Interface]:
        if not reading.is_set():
            reading.set()
            go_on.wait(10)
        return [Interface("eth0", ipaddress.ip_address("2001:db8:1::1"), ipaddress.ip_network("2001:db8:1::/64"))]

    networks = AllowedNetworks(Networks(["local"]), read)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(networks.contains, "2001:db8:1::7")
        assert reading.wait(10)
        second = networks.contains("2001:db8:1::7")
        go_on.set()
        assert first.result(10) and second


INTERNET, VISITOR = "203.0.113.9", "192.168.1.77"
HERE = "192.168.1.5"  # the camera's address that they ask


def asking(**fields: str | list[str]) -> Request:
    """Return a request with the header *fields*, `_` for `-`."""
    lines = [
        f"{name.replace('_', '-')}: {value}"
        for name, values in fields.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return parse("\r\n".join(["GET / HTTP/1.1", *lines]).encode())


def access_for(networks: list[str], proxies: list[str]) -> Access:
    return Access(AllowedNetworks(Networks(networks)), Networks(proxies))


def judged(access: Access, peer: str, request: Request, here: str = HERE) -> str | int:
    """Return the client that asks, or the status with which the request is refused."""
    try:
        return str(access.judge(peer, here, request))
    except Refused as refused:
        return refused.status


@pytest.mark.parametrize(
    ("peer", "fields", "expected"),
    [
        # the proxy's word counts, and of it the last that is no proxy of ours
        ("10.0.0.2", {"x_forwarded_for": VISITOR}, VISITOR),
        ("10.0.0.2", {"x_forwarded_for": INTERNET}, 403),
        ("10.0.0.2", {"x_forwarded_for": f"{VISITOR}, {INTERNET}"}, 403),
        ("10.0.0.2", {"x_forwarded_for": f"{INTERNET}, {VISITOR}"}, VISITOR),
        ("10.0.0.2", {"x_forwarded_for": [VISITOR, INTERNET]}, 403),
        ("10.0.0.2", {"x_forwarded_for": f"{VISITOR}, 10.0.0.3, 10.0.0.2"}, VISITOR),
        ("10.0.0.2", {"x_forwarded_for": f"{INTERNET},10.0.0.3"}, 403),
        ("10.0.0.2", {"x_forwarded_for": "10.0.0.3,10.0.0.2"}, "10.0.0.3"),
        ("10.0.0.2", {"forwarded": f"for={VISITOR};proto=http;by=10.0.0.2"}, VISITOR),
        ("10.0.0.2", {"forwarded": f"For={VISITOR}, for={INTERNET}"}, 403),
        ("10.0.0.2", {"forwarded": 'for="[fd00::7]:4711"'}, "fd00::7"),
        ("10.0.0.2", {"x_real_ip": VISITOR}, VISITOR),
        ("10.0.0.2", {"x_real_ip": INTERNET}, 403),
        # what its client made up beside it helps nobody
        ("10.0.0.2", {"x_forwarded_for": INTERNET, "forwarded": f"for={VISITOR}"}, 403),
        ("10.0.0.2", {"x_forwarded_for": INTERNET, "x_real_ip": VISITOR}, 403),
        ("10.0.0.2", {"x_forwarded_for": VISITOR, "x_real_ip": INTERNET}, 403),
        # nor takes he the places of others by it
        ("10.0.0.2", {"x_forwarded_for": VISITOR, "forwarded": "for=192.168.1.78"}, 403),
        ("10.0.0.2", {"x_forwarded_for": VISITOR, "forwarded": f"for={VISITOR}"}, VISITOR),
        # what is behind the client's own address was never its proxy's word, and need not be one
        ("10.0.0.2", {"x_forwarded_for": f"unknown, {VISITOR}, 10.0.0.3"}, VISITOR),
        # of two proxies the inner names the outer in one of the headers
        ("10.0.0.2", {"x_forwarded_for": f"{VISITOR}, 203.0.113.1", "x_real_ip": "203.0.113.1"}, VISITOR),
        # forms
        ("10.0.0.2", {"x_forwarded_for": f"{VISITOR}:5555"}, VISITOR),
        ("10.0.0.2", {"x_forwarded_for": f"::ffff:{VISITOR}"}, VISITOR),
        ("10.0.0.2", {"x_forwarded_for": "fd00::7"}, "fd00::7"),
        ("10.0.0.2", {"x_forwarded_for": "[fd00::7]:80"}, "fd00::7"),
        ("10.0.0.2", {"x_forwarded_for": "unknown"}, 400),
        ("10.0.0.2", {"x_forwarded_for": ""}, 400),
        ("10.0.0.2", {"x_forwarded_for": f"{VISITOR},"}, 400),
        ("10.0.0.2", {"forwarded": "for=_hidden"}, 400),
        ("10.0.0.2", {"forwarded": "proto=http"}, 400),
        ("10.0.0.2", {"x_forwarded_for": "1.2.3.4.5"}, 400),
        ("10.0.0.2", {"x_forwarded_for": "٣.3.3.3"}, 400),
        # without a word of its own it asks for itself
        ("10.0.0.2", {}, "10.0.0.2"),
        # whoever is no proxy of ours is himself, whatever he says
        (INTERNET, {"x_forwarded_for": VISITOR}, 403),
        (VISITOR, {"x_forwarded_for": "192.168.1.78"}, VISITOR),
        # but a proxy in a container, say, that nobody told us of lets nobody in who may not look
        (VISITOR, {"x_forwarded_for": INTERNET}, 403),
        (VISITOR, {"x_forwarded_for": f"{VISITOR}, {INTERNET}"}, 403),
        (VISITOR, {"forwarded": f"for={VISITOR}", "x_real_ip": INTERNET}, 403),
        # a proxy on this machine that is not in the list would let in everybody
        ("127.0.0.1", {"x_forwarded_for": VISITOR}, 403),
        ("::1", {"forwarded": f"for={VISITOR}"}, 403),
        ("127.0.0.1", {"x_real_ip": "127.0.0.1"}, 403),
        ("127.0.0.1", {}, "127.0.0.1"),
    ],
)
def test_the_client_behind_a_proxy_is_found(peer: str, fields: dict[str, str | list[str]], expected: str | int) -> None:
    access = access_for(["local"], ["10.0.0.2", "10.0.0.3/32", "203.0.113.1"])
    assert judged(access, peer, asking(**fields)) == expected


def test_a_trusted_proxy_is_let_in_and_its_client_is_checked() -> None:
    access = access_for(["192.168.1.0/24"], ["198.51.100.7", "127.0.0.0/8"])
    assert access.admits("198.51.100.7", HERE)
    assert not access.admits("198.51.100.8", HERE)
    assert access.admits(VISITOR, HERE)
    assert not access.admits("no address", HERE)
    assert judged(access, "198.51.100.7", asking(x_forwarded_for=VISITOR)) == VISITOR
    assert judged(access, "198.51.100.7", asking()) == 403
    assert judged(access, "127.0.0.1", asking(x_forwarded_for=VISITOR)) == VISITOR
    assert judged(access, "127.0.0.1", asking(x_forwarded_for=INTERNET)) == 403
    assert not access.judge("127.0.0.1", HERE, asking(x_forwarded_for=VISITOR)).encrypted


@pytest.mark.parametrize("own", ["192.168.1.5", "203.0.113.5", "2001:db8:1:2::5", "fe80::5%eth0", "127.0.0.1"])
def test_this_machine_is_served_at_its_own_address_but_no_proxy_on_it(own: str) -> None:
    access = access_for([], [])
    assert access.admits(own, own)
    assert judged(access, own, asking(), own) == own
    assert access.still_admits(access.judge(own, own, asking()))
    # as at loopback, it would let in everybody
    for named in (VISITOR, INTERNET, own):
        assert judged(access_for(["local", INTERNET], []), own, asking(x_forwarded_for=named), own) == 403
    # a proxy's word about its client is no connection from this machine
    trusting = access_for([], ["203.0.113.5", "192.168.1.5"])
    assert judged(trusting, "203.0.113.5", asking(x_forwarded_for="203.0.113.5"), "203.0.113.5") == 403
    assert judged(trusting, "203.0.113.5", asking(x_forwarded_for="192.168.1.5"), "203.0.113.5") == 403
    assert judged(trusting, "203.0.113.5", asking(), "203.0.113.5") == "203.0.113.5"


@pytest.mark.parametrize("here", ["203.0.113.5", "127.0.0.1", "2001:db8:1:2::5", ""])
def test_the_address_of_another_machine_is_not_this_one(here: str) -> None:
    access = access_for([], [])
    for peer in ("203.0.113.6", INTERNET, VISITOR, "2001:db8:1:2::6"):
        assert not access.admits(peer, here)
        assert judged(access, peer, asking(), here) == 403


def test_an_admitted_peer_is_admitted_again_only_by_the_same_rules() -> None:
    proxied = access_for(["local"], ["10.0.0.2"]).judge("10.0.0.2", HERE, asking(x_forwarded_for=VISITOR))
    direct = Client(VISITOR, VISITOR)
    for networks, proxies, both in [
        (["local"], ["10.0.0.2"], (True, True)),
        (["local"], [], (False, True)),
        (["10.0.0.0/8"], ["10.0.0.2"], (False, False)),
        ([VISITOR], ["10.0.0.2"], (True, True)),
    ]:
        access = access_for(networks, proxies)
        assert (access.still_admits(proxied), access.still_admits(direct)) == both


def test_the_suggested_line_is_valid_configuration() -> None:
    access = access_for([], [])
    for peer, fields in (("fe80::7%eth0", {}), ("127.0.0.1", {"x_forwarded_for": VISITOR})):
        with pytest.raises(Refused) as refused:
            access.judge(peer, HERE, asking(**fields))
        (line,) = (line for line in refused.value.text.splitlines() if " = [" in line)
        for entry in tomllib.loads(line).popitem()[1]:
            assert Networks([entry])
