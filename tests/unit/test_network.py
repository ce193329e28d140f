from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

import pytest

from pi_cam_daemon.system.network import Interface, invitation, page_addresses, parse_if_inet6, read

IF_INET6 = """\
20010db8000000000000000000000005 02 40 00 80     eth0
20010db80000000000000000000000aa 02 40 00 01     eth0
20010db80000000000000000000000bb 02 40 00 40     eth0
20010db80000000000000000000000cc 02 40 00 c8     eth0
20010db80000000100000000000000dd 02 40 00 20     eth0
fe8000000000000000fc00fffe000001 02 40 20 80     eth0
fd000000000000000000000000000007 03 80 00 80    wlan0
"""


def interface(name: str, address: str) -> Interface:
    parsed = ipaddress.ip_interface(address)
    return Interface(name, parsed.ip, parsed.network)


def test_this_machine_has_its_loopback_address_and_network() -> None:
    assert interface("lo", "127.0.0.1/8") in read()


def test_ipv6_addresses_have_prefixes_and_temporary_ones_are_left_out() -> None:
    # left out: temporary (01), tentative (40), duplicate (08); a deprecated address (20) still has its network
    assert list(parse_if_inet6(IF_INET6)) == [
        interface("eth0", "2001:db8::5/64"),
        interface("eth0", "2001:db8:0:1::dd/64"),
        interface("eth0", "fe80::fc:ff:fe00:1/64"),
        interface("wlan0", "fd00::7/128"),
    ]


def test_a_kernel_without_ipv6_has_no_ipv6_addresses() -> None:
    assert list(parse_if_inet6("")) == []


def test_page_addresses_work_on_another_machine() -> None:
    table = [
        interface("lo", "127.0.0.1/8"),
        interface("eth0", "192.168.1.5/24"),
        interface("eth0", "169.254.7.7/16"),
        interface("lo", "::1/128"),
        interface("eth0", "fe80::1/64"),
        interface("eth0", "2001:db8::5/64"),
    ]
    assert page_addresses("http", 8000, table, lambda: "garden", lambda _: "") == [
        "http://192.168.1.5:8000/",
        "http://[2001:db8::5]:8000/",
        "http://garden.local:8000/",
    ]


def test_the_domain_of_the_host_name_is_not_part_of_its_mdns_name() -> None:
    assert page_addresses("http", 80, [], lambda: "garden.example.org", lambda _: "") == ["http://garden.local:80/"]


def test_the_mdns_name_is_what_avahi_says() -> None:
    asked: list[str] = []

    def mdns_name(addresses: Iterable[str]) -> str:
        asked.extend(addresses)
        return "garden-2.local"

    table = [interface("lo", "127.0.0.1/8"), interface("eth0", "192.168.1.5/24"), interface("eth0", "fe80::1/64")]
    found = page_addresses("http", 80, table, lambda: "garden", mdns_name)
    assert found == ["http://192.168.1.5:80/", "http://garden-2.local:80/"]
    assert asked == ["192.168.1.5"]


def test_page_addresses_begin_with_the_scheme_in_use() -> None:
    assert page_addresses("https", 8443, [], lambda: "garden", lambda _: "") == ["https://garden.local:8443/"]


def test_a_machine_without_a_name_of_its_own_has_no_mdns_name() -> None:
    assert page_addresses("http", 80, [], lambda: "localhost", lambda _: "") == []


def test_a_table_that_cannot_be_read_is_an_error_and_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_cam_daemon.system.network._IF_INET6", tmp_path)  # reading a folder fails
    with pytest.raises(OSError):
        read()


def test_the_invitation_names_an_address_that_other_devices_can_open() -> None:
    here, shut, open_, name = (
        "http://localhost:80/",
        "http://8.8.8.8:80/",
        "http://192.168.1.4:80/",
        "http://a.local:80/",
    )
    listed = [here, "http://[fe80::1]:80/", shut, open_, name]
    assert invitation(listed) == f"open {open_} in a browser, or {here} on this machine"
    assert invitation(["http://127.0.0.1:80/", shut, name]) == "open http://127.0.0.1:80/ in a browser"
