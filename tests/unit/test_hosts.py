"""The names under which the camera answers, and the rights of pages of other sites."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_cam_daemon.config.addresses import is_host, is_origin
from pi_cam_daemon.server.hosts import HostPolicy
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.request import parse

AT_HOME, OUTSIDE = "192.168.1.9", "203.0.113.9"
LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])  # 253 letters, as many as DNS has


def is_own(address: str) -> bool:
    return address == AT_HOME


def status(policy: HostPolicy, fields: str, method: str = "GET", target: str = "/", client: str = AT_HOME) -> int:
    """Return 200, or the status with which the request is refused."""
    try:
        policy.check(parse(f"{method} {target} HTTP/1.1\r\n{fields}".rstrip().encode("latin-1")), client)
    except Refused as refused:
        return refused.status
    return 200


ALWAYS = [
    "", "127.0.0.1", "127.0.0.1:8000", "192.168.1.5:80", "203.0.113.9", "[::1]", "[::1]:8000", "[fe80::1%25eth0]:8000",
    "[2001:DB8::1]:1", "localhost", "LOCALHOST:8000", "localhost.", "localhost.:8000", "192.168.1.5:",
    "host.docker.internal:8000", "host.containers.internal", "localhost.localdomain", "ip6-localhost", "IP6-loopback.",
    "picam.localhost:8000", "a.b.LOCALHOST.", "localhost6", "localhost4.localdomain4", "localhost6.localdomain6",
    "host.lima.internal", "gateway.docker.internal", "host.rancher-desktop.internal", "[fe80::1%eth0]:8000",
    "[fe80::1%25wlan0.7]", "[FE80::1%wlan0]",
]  # fmt: skip
OWN = [
    "picam", "PiCam:8000", "picam.", "picam.local", "picam.local.:8000", "picam.lan", "picam.home", "picam.home.arpa",
    "picam.internal", "picam.localdomain", "picam.fritz.box", "PICAM.FRITZ.BOX:80",
]  # fmt: skip
NEVER = [
    "attacker.example", "attacker.example:8000", "picam.example", "picam.local.attacker.example", "xpicam.local",
    "localhost.attacker.example",  "xpicam", "x.picam.local", "local", ".local", "127.0.0.1.nip.io", "0x7f.1",
    "host.docker.internal.attacker.example", "x.docker.internal", "x.localdomain",
    "notlocalhost", "localhost5", "localhost4.localdomain6", "host.internal.attacker.example", "x.host.docker.internal",
    "host.a.b.internal",
    "2130706433", "127.1", "1.2.3.4.5", "127.0.0.1%attacker.example",
]  # fmt: skip
MALFORMED = [
    "a b", "user@picam", "picam:80:80", "[::1", "::1", "fe80::1", "picam/", "picam:port", "[picam]", "picam?x",
    "[::1]x", "[fe80::1%]", "[fe80::1%eth0", "[fe80::1%eth0/x]", "fe80::1%eth0",
]  # fmt: skip


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [(host, 200) for host in ALWAYS + OWN] + [(host, 421) for host in NEVER] + [(host, 400) for host in MALFORMED],
)
def test_by_default_ip_addresses_and_own_names_are_served(hosts: str, expected: int) -> None:
    policy = HostPolicy(["local"], [], is_own, lambda: "picam")
    assert status(policy, f"Host: {hosts}") == expected


@pytest.mark.parametrize(
    ("own", "host", "client", "expected"),
    [
        ("picam", "picam.fritz.box", AT_HOME, 200),
        ("picam", "picam.fritz.box", OUTSIDE, 421),
        ("picam", "fritz.box", AT_HOME, 421),
        ("picam", "picam.lan", OUTSIDE, 200),
    ],
)
def test_a_router_s_public_domain_counts_for_the_own_networks_alone(
    own: str, host: str, client: str, expected: int
) -> None:
    policy = HostPolicy(["local"], [], is_own, lambda: own)
    assert status(policy, f"Host: {host}", client=client) == expected


@pytest.mark.parametrize(
    ("own", "host", "expected"),
    [
        ("picam", "picam-2.local", 200),
        ("picam", "PiCam-13.local.:8000", 200),
        ("picam.example.org", "picam-2.local", 200),
        ("picam-2", "picam-3.local", 200),
        ("pi-cam", "pi-cam-2.local", 200),
        ("picam", "picam-2", 421),
        ("picam", "picam-2.lan", 421),
        ("picam", "picam-02.local", 421),
        ("picam", "picam-x.local", 421),
        ("picam", "picam-2-2.local", 421),
        ("picam", "x.picam-2.local", 421),
        ("picam", "xpicam-2.local", 421),
        ("picam", "picam-1000.local", 421),
    ],
)
def test_the_name_that_avahi_counts_up_is_an_own_name(own: str, host: str, expected: int) -> None:
    assert status(HostPolicy(["local"], [], is_own, lambda: own), f"Host: {host}") == expected
    assert status(HostPolicy([], [], is_own, lambda: own), f"Host: {host}") == 421


def test_the_name_that_avahi_is_configured_with_is_an_own_name_and_asked_for_seldom() -> None:
    asked = []

    def mdns_name() -> str:
        asked.append(1)
        return "Garden.local"

    policy = HostPolicy(["local"], [], is_own, lambda: "picam", mdns_name)
    assert status(policy, "Host: picam-2.local") == status(policy, "Host: picam.lan") == 200
    assert status(policy, "Host: garden.lan") == status(policy, "Host: garden") == 421
    assert not asked
    assert status(policy, "Host: garden.local:8000") == status(policy, "Host: GARDEN.local.") == 200
    assert status(policy, "Host: other.local") == status(policy, "Host: garden.local.example") == 421
    assert len(asked) == 1
    assert status(HostPolicy([], [], is_own, lambda: "picam", mdns_name), "Host: garden.local") == 421


def test_the_name_of_avahi_is_asked_for_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, names = 100.0, iter(["Garden.local", OSError("no free descriptor"), "cellar.local"])

    def mdns_name() -> str:
        name = next(names)
        if isinstance(name, OSError):
            raise name
        return name

    monkeypatch.setattr(time, "monotonic", lambda: now)
    policy = HostPolicy(["local"], [], is_own, lambda: "picam", mdns_name)
    for now, host, expected in (
        (100.0, "garden.local", 200),
        (159.9, "cellar.local", 421),
        (160.0, "garden.local", 200),  # avahi could not be asked
        (219.9, "cellar.local", 421),
        (220.0, "cellar.local", 200),
        (220.0, "garden.local", 421),
    ):
        assert status(policy, f"Host: {host}") == expected, (now, host)


def test_a_name_that_cannot_be_asked_for_is_not_served() -> None:
    def mdns_name() -> str:
        raise OSError("no free descriptor")

    policy = HostPolicy(["local"], [], is_own, lambda: "picam", mdns_name)
    assert status(policy, "Host: garden.local") == 421
    assert status(policy, "Host: picam.local") == 200


@pytest.mark.parametrize(
    ("origins", "fields", "allowed"),
    [
        ([], "", True),
        ([], "Sec-Fetch-Site: same-origin", True),
        ([], "Sec-Fetch-Site: same-site", True),
        ([], "Sec-Fetch-Site: none", True),
        ([], "Sec-Fetch-Site: cross-site", False),
        ([], "Origin: http://picam:8000", True),
        ([], "Origin: http://attacker.example", False),
        ([], "Origin: null", False),
        (["http://home.example"], "Origin: http://home.example\r\nSec-Fetch-Site: cross-site", True),
        (["http://home.example"], "Origin: http://other.example\r\nSec-Fetch-Site: cross-site", False),
        (["http://home.example"], "Sec-Fetch-Site: cross-site", False),
        (["*"], "Sec-Fetch-Site: cross-site", True),
    ],
)
def test_a_foreign_page_gets_no_still_unless_its_origin_is_listed(
    origins: list[str], fields: str, allowed: bool
) -> None:
    request = parse(f"GET /still.jpg HTTP/1.1\r\nHost: picam:8000\r\n{fields}".rstrip().encode())
    policy = HostPolicy(["local"], origins, is_own, lambda: "picam")
    if allowed:
        policy.check_still(request)
    else:
        with pytest.raises(Refused, match=r"http\.cors_origins") as refused:
            policy.check_still(request)
        assert refused.value.status == 403


def test_a_request_without_a_host_is_served() -> None:
    assert status(HostPolicy([], [], is_own, lambda: "picam"), "") == 200


@pytest.mark.parametrize("host", ["picam", "picam.example.org", "picam.local"])
def test_a_machine_that_knows_its_domain_serves_it(host: str) -> None:
    assert status(HostPolicy(["local"], [], is_own, lambda: "picam.example.org"), f"Host: {host}") == 200


@pytest.mark.parametrize(
    ("entries", "host", "expected"),
    [
        ([], "picam", 421),
        ([], "192.168.1.5", 200),
        (["*"], "attacker.example", 200),
        (["camera.example.org"], "CAMERA.example.org.:81", 200),
        (["Camera.Example.org."], "camera.example.org", 200),
        (["camera.example.org"], "x.camera.example.org", 421),
        (["camera.example.org"], "picam", 421),
        ([".example.org"], "example.org", 200),
        ([".example.org"], "a.b.example.org", 200),
        ([".example.org"], "badexample.org", 421),
        (["local", "camera"], "camera", 200),
    ],
)
def test_allowed_hosts_names_hosts_and_domains(entries: list[str], host: str, expected: int) -> None:
    assert status(HostPolicy(entries, [], is_own, lambda: "picam"), f"Host: {host}") == expected


@pytest.mark.parametrize(
    "host", ["xn--kmera-gra.example", "XN--KMERA-GRA.Example.:80", "kämera.example", "KÄMERA.example."]
)
def test_a_name_in_letters_of_any_script_is_the_one_in_ascii(host: str) -> None:
    sent = host.encode().decode("latin-1")
    assert status(HostPolicy(["xn--kmera-gra.example"], [], is_own), f"Host: {sent}") == 200
    with pytest.raises(Refused) as refused:
        HostPolicy(["local"], [], is_own, lambda: "picam").check(
            parse(f"GET / HTTP/1.1\r\nHost: {host}".encode()), AT_HOME
        )
    assert "xn--kmera-gra.example" in refused.value.setting.lower()


def test_a_name_in_letters_of_any_script_is_no_longer_than_one_in_ascii() -> None:
    name = ("ä" * 40 + ".") * 3 + "x" * 10
    for host, entry in ((name, name.encode("idna").decode()), (f"{name}x", "NAME")):
        with pytest.raises(Refused) as refused:
            HostPolicy([], [], is_own).check(parse(f"GET / HTTP/1.1\r\nHost: {host}".encode()), AT_HOME)
        assert refused.value.setting == f'allowed_hosts = ["{entry}"]'


@pytest.mark.parametrize(
    "host", ["\xe9", "k\xc3", "\xc3\xa4" * 100, "\xc3\xa4" * 30 + ".." + "\xc3\xa4", "\xe2\x80\xae.example"]
)
def test_a_name_that_is_no_utf_8_or_too_long_is_refused(host: str) -> None:
    assert status(HostPolicy(["local"], [], is_own, lambda: "picam"), f"Host: {host}") == 421


def test_a_trusted_proxy_names_the_port_apart() -> None:
    policy = HostPolicy(["local"], [], is_own, lambda: "picam")
    asked = "POST /controls HTTP/1.1\r\nHost: picam\r\nX-Forwarded-Port: 8080\r\nOrigin: http://picam:{}"
    policy.check(parse(asked.format(8080).encode()), AT_HOME, True)
    for port, proxied in ((8081, True), (8080, False)):
        with pytest.raises(Refused):
            policy.check(parse(asked.format(port).encode()), AT_HOME, proxied)


PIECES = [
    "picam",
    ".",
    "local",
    ":",
    "80",
    "443",
    "[",
    "]",
    "fe80::1",
    "%",
    "25",
    "@",
    "http://",
    "https://",
    "xn--",
    "null",
]
AUTHORITIES = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=6).map("".join)
SITES = st.sampled_from(["", "same-origin", "cross-site"])


@settings(max_examples=200, derandomize=True)
@given(AUTHORITIES, AUTHORITIES, AUTHORITIES, SITES, st.booleans())
def test_any_names_are_accepted_or_refused(host: str, origin: str, forwarded: str, site: str, proxied: bool) -> None:
    policy = HostPolicy(["local", "picam.example"], ["http://picam.local"], is_own, lambda: "picam")
    values = {"host": host, "origin": origin, "x-forwarded-host": forwarded, "sec-fetch-site": site}
    headers = {name: (value.encode("utf-8", "replace").decode("latin-1"),) for name, value in values.items()}
    asked = replace(parse(b"POST /controls HTTP/1.1"), headers=headers)
    try:
        policy.check(asked, AT_HOME, proxied)
    except Refused as refused:
        assert refused.status in (400, 403, 421)
        assert refused.text.isascii() and refused.setting.isascii()
    policy.cors_headers(asked)


def test_an_absolute_target_overrides_the_host_header() -> None:
    policy = HostPolicy(["local"], [], is_own, lambda: "picam")
    assert status(policy, "Host: picam", target="http://attacker.example/") == 421
    assert status(policy, "Host: attacker.example", target="http://picam/") == 200


def test_a_refusal_shows_the_line_to_add_and_nothing_harmful_to_paste() -> None:
    policy = HostPolicy(["local"], [], is_own, lambda: "picam")
    with pytest.raises(Refused, match=r'allowed_hosts = \["local", "camera.example.org"\]'):
        policy.check(parse(b"GET / HTTP/1.1\r\nHost: camera.example.org"), AT_HOME)
    with pytest.raises(Refused) as refused:
        policy.check(parse(b'GET / HTTP/1.1\r\nHost: ",*,"\xe9'), AT_HOME)
    assert 'allowed_hosts = ["local", "NAME"]' in refused.value.text
    assert refused.value.text.isascii()


@pytest.mark.parametrize(
    ("name", "shown", "entry"),
    [
        ("camera.example.org", "camera.example.org", "camera.example.org"),
        ("*", "*", "NAME"),
        (LONGEST, LONGEST, LONGEST),
        (f"{LONGEST}x", LONGEST, "NAME"),
        ("\xe9x", r"\xe9x", "NAME"),
    ],
)
def test_a_refused_host_is_shown_and_only_a_name_is_offered_for_the_list(name: str, shown: str, entry: str) -> None:
    with pytest.raises(Refused) as refused:
        HostPolicy([], [], is_own).check(parse(f"GET / HTTP/1.1\r\nHost: {name}".encode("latin-1")), AT_HOME)
    assert f" the name {shown}.\n" in refused.value.text
    assert refused.value.setting == f'allowed_hosts = ["{entry}"]'


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", 200),
        ("Host: picam:8000\r\nOrigin: http://picam:8000", 200),
        ("Host: picam\r\nOrigin: HTTPS://PICAM", 200),
        ("Host: picam\r\nOrigin: http://home.example", 200),
        ("Host: picam\r\nOrigin: http://home.example:81", 403),
        ("Host: picam\r\nOrigin: https://home.example", 403),
        ("Host: picam:8000\r\nOrigin: http://picam:8001", 403),
        ("Host: picam\r\nOrigin: http://attacker.example", 403),
        ("Host: picam\r\nOrigin: http://picam.attacker.example", 403),
        ("Host: picam\r\nOrigin: null", 403),
        ("Host: picam\r\nOrigin: picam", 403),
        ("Origin: http://", 403),
        ("Host: :80\r\nOrigin: http://:80", 403),
        ("Host: picam\r\nSec-Fetch-Site: cross-site", 403),
        ("Host: picam\r\nSec-Fetch-Site: same-site", 403),
        ("Host: picam\r\nSec-Fetch-Site: same-origin", 200),
        ("Host: picam\r\nSec-Fetch-Site: none", 200),
        # a usual port may be missing
        ("Host: picam:443\r\nOrigin: https://picam", 200),
        ("Host: picam\r\nOrigin: https://picam:443", 200),
        ("Host: picam:80\r\nOrigin: http://picam", 200),
        ("Host: picam:\r\nOrigin: http://picam:80", 200),
        ("Host: PiCam.:443\r\nOrigin: HTTPS://picam", 200),
        ("Host: picam\r\nOrigin: http://picam.", 200),
        ("Host: [fe80::1]:443\r\nOrigin: https://[FE80::1]", 200),
        ("Host: picam\r\nOrigin: https://picam:80", 403),
        ("Host: picam:443\r\nOrigin: http://picam", 403),
        ("Host: picam:80\r\nOrigin: https://picam", 403),
        ("Host: picam\r\nOrigin: http://picam:8000", 403),
        ("Host: picam\r\nOrigin: ftp://picam", 403),
        ("Host: picam\r\nOrigin: http://picam/", 403),
        ("Host: picam\r\nOrigin: http://a@picam", 403),
        # behind a proxy that replaces Host
        ("Host: 127.0.0.1:8000\r\nOrigin: https://cam.example\r\nSec-Fetch-Site: same-origin", 200),
        ("Host: picam\r\nOrigin: https://picam:8443\r\nSec-Fetch-Site: same-origin", 200),
        ("Host: picam\r\nOrigin: null\r\nSec-Fetch-Site: same-origin", 200),
        ("Host: 127.0.0.1:8000\r\nOrigin: https://cam.example\r\nSec-Fetch-Site: same-site", 403),
        ("Host: 127.0.0.1:8000\r\nOrigin: https://cam.example\r\nSec-Fetch-Site: none", 403),
        ("Host: cam.example\r\nOrigin: https://cam.example\r\nSec-Fetch-Site: same-origin", 421),
        ("Host: 127.0.0.1:8000\r\nOrigin: https://picam\r\nX-Forwarded-Host: picam", 403),
    ],
)
def test_only_own_pages_and_listed_origins_may_change_something(fields: str, expected: int) -> None:
    policy = HostPolicy(["local"], ["http://home.example"], is_own, lambda: "picam")
    for method in ("POST", "PUT", "DELETE", "PATCH", "BREW"):
        assert status(policy, fields, method) == expected, method


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("X-Forwarded-Host: picam\r\nOrigin: https://picam", 200),
        ("X-Forwarded-Host: picam:8443\r\nX-Forwarded-Proto: https\r\nOrigin: https://picam:8443", 200),
        ("X-Forwarded-Host: PICAM., 10.0.0.1\r\nOrigin: http://picam:80", 200),
        ("X-Forwarded-Host: cam.example\r\nOrigin: https://cam.example", 200),
        ("Forwarded: for=10.0.0.9;host=picam;proto=https\r\nOrigin: https://picam", 200),
        ('Forwarded: for=10.0.0.9; HOST="picam:8443"\r\nOrigin: https://picam:8443', 200),
        ("Forwarded: host=[::1]\r\nOrigin: http://[::1]", 200),
        ("X-Forwarded-Host: picam\r\nX-Forwarded-Port: 8443\r\nOrigin: https://picam:8443", 200),
        ("X-Forwarded-Host: picam\r\nX-Forwarded-Port: 80\r\nOrigin: https://picam", 200),
        ("X-Forwarded-Host: picam:\r\nX-Forwarded-Port: 8443\r\nOrigin: https://picam:8443", 200),
        ("X-Forwarded-Host: picam\r\nForwarded: host=other.example\r\nOrigin: https://picam", 200),
        ("X-Forwarded-Port: 8080\r\nOrigin: http://192.168.1.5:8080", 403),
        ("X-Forwarded-Host: picam\r\nX-Forwarded-Port: 8443\r\nOrigin: https://picam:8444", 403),
        ("X-Forwarded-Host: picam:8443\r\nX-Forwarded-Port: 443\r\nOrigin: https://picam", 403),
        ("X-Forwarded-Host: picam\r\nX-Forwarded-Port: 80@x\r\nOrigin: http://picam:80@x", 403),
        ("X-Forwarded-Host: picam\r\nOrigin: https://picam:8443", 403),
        ("X-Forwarded-Host: picam\r\nOrigin: null", 403),
        ("X-Forwarded-Host: attacker.example\r\nOrigin: http://attacker.example", 403),
        ("X-Forwarded-Host: picam\r\nOrigin: http://attacker.example", 403),
        ("X-Forwarded-Host: a b\r\nOrigin: http://a b", 403),
        ("X-Forwarded-Host:\r\nOrigin: http://", 403),
        ("X-Forwarded-Host: picam\r\nSec-Fetch-Site: cross-site", 403),
        ("Forwarded: for=picam\r\nOrigin: http://picam", 403),
    ],
)
def test_a_trusted_proxy_names_the_host_of_the_page(fields: str, expected: int) -> None:
    policy = HostPolicy(["local", "cam.example"], [], is_own, lambda: "picam")
    asked = parse(f"POST /controls HTTP/1.1\r\nHost: 192.168.1.5:8000\r\n{fields}".encode())
    for proxied, result in ((True, expected), (False, 403)):
        try:
            policy.check(asked, AT_HOME, proxied)
        except Refused as refused:
            assert refused.status == result
            assert refused.setting.startswith("cors_origins = [")
        else:
            assert result == 200


@pytest.mark.parametrize(
    ("fields", "entry"),
    [
        ("Origin: https://home.example:8123", "https://home.example:8123"),
        ("Origin: null", "http://NAME"),
        ('Origin: http://a","*', "http://NAME"),
        ("Origin: *", "http://NAME"),
        (f"Origin: http://{LONGEST}", f"http://{LONGEST}"),
        (f"Origin: http://{LONGEST}x", "http://NAME"),
        ("Sec-Fetch-Site: cross-site", "http://NAME"),
    ],
)
def test_a_refused_change_names_the_setting_for_its_site(fields: str, entry: str) -> None:
    policy = HostPolicy(["local"], ["http://octopi.local"], is_own, lambda: "picam")
    with pytest.raises(Refused) as refused:
        policy.check(parse(f"POST /controls HTTP/1.1\r\nHost: picam\r\n{fields}".encode()), AT_HOME)
    assert refused.value.setting == f'cors_origins = ["http://octopi.local", "{entry}"]'


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_any_page_may_ask_but_only_listed_origins_may_read(method: str) -> None:
    policy = HostPolicy(["local"], ["http://home.example"], is_own, lambda: "picam")
    for origin, readable in [
        ("http://home.example", True), ("HTTP://Home.example", True), ("http://other.example", False), ("null", False),
    ]:  # fmt: skip
        request = parse(f"{method} / HTTP/1.1\r\nHost: picam\r\nOrigin: {origin}".encode())
        policy.check(request, AT_HOME)
        headers = policy.cors_headers(request)
        assert headers["Vary"] == "Origin"
        assert headers.get("Access-Control-Allow-Origin") == (origin if readable else None)
        assert ("X-Refused" in headers.get("Access-Control-Expose-Headers", "")) == readable
        assert ("Access-Control-Allow-Methods" in headers) == (readable and method == "OPTIONS")


@pytest.mark.parametrize(
    ("entry", "origin", "allowed"),
    [
        ("http://octopi.local:80", "http://octopi.local", True),
        ("https://home.example", "https://home.example:443", True),
        ("HTTPS://Home.example:443", "https://home.example", True),
        ("http://octopi.local", "http://octopi.local.", True),
        ("http://octopi.local", "https://octopi.local", False),
        ("http://octopi.local:443", "https://octopi.local", False),
        ("http://octopi.local", "http://octopi.local:8080", False),
        ("http://octopi.local", "octopi.local", False),
        ("http://octopi.local", "http://", False),
        ("http://octopi.local", "http://a b", False),
        ("*", "app://octopi.local", True),
        ("*", "null", False),
    ],
)
def test_an_origin_may_have_or_lack_the_usual_port(entry: str, origin: str, allowed: bool) -> None:
    policy = HostPolicy(["local"], [entry], is_own, lambda: "picam")
    fields = f"Host: picam\r\nOrigin: {origin}"
    assert status(policy, fields, "POST") == (200 if allowed else 403)
    headers = policy.cors_headers(parse(f"GET / HTTP/1.1\r\n{fields}".encode()))
    assert headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)


def test_without_a_list_no_cors_header_is_sent() -> None:
    request = parse(b"GET / HTTP/1.1\r\nOrigin: http://home.example")
    assert HostPolicy(["local"], [], is_own).cors_headers(request) == {}
    assert (
        HostPolicy(["local"], ["*"], is_own).cors_headers(request)["Access-Control-Allow-Origin"]
        == "http://home.example"
    )
    assert "Access-Control-Allow-Origin" not in HostPolicy(["local"], ["*"], is_own).cors_headers(
        parse(b"GET / HTTP/1.1\r\nOrigin: null")
    )


@pytest.mark.parametrize("entry", ["local", "*", "picam", "a.example.org", ".example.org", "192.168.1.5", "::1", "a_b"])
def test_valid_entries_of_allowed_hosts(entry: str) -> None:
    assert is_host(entry)


@pytest.mark.parametrize(
    "entry",
    ["", ".", "*.example.org", "picam:8000", "http://picam", "a b", "a..b", "-a", "picam/", '"', "a\n", "ä.example"],
)
def test_invalid_entries_of_allowed_hosts(entry: str) -> None:
    assert not is_host(entry)


@pytest.mark.parametrize("entry", ["*", "http://octopi.local", "https://home.example:8123", "http://[::1]:80"])
def test_valid_origins(entry: str) -> None:
    assert is_origin(entry)


@pytest.mark.parametrize(
    "entry",
    ["", "octopi.local", "http://", "http://a/", "ftp://a", "http://a b", "http://a;", "'self'", "http://*", "null"],
)
def test_invalid_origins(entry: str) -> None:
    assert not is_origin(entry)
