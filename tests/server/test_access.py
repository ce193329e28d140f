"""Access by address, tried from other addresses: network namespaces of the test.

camera (the daemon, here) ── near (the same network, and a router) ── far (another network)
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.network import CAMERA, Host, Proxy, appends, hosts, ip, replaces, wire
from tests.kit.wait import until
from tests.kit.wire import Reading, Viewer, read_all, say, watch

# the camera's address, and those of a host beside it, in each network
PRIVATE, NEAR_PRIVATE = "10.231.7.1", "10.231.7.2"
AUTOMATIC, NEAR_AUTOMATIC = "169.254.77.1", "169.254.77.2"
PUBLIC, NEAR_PUBLIC = "198.51.100.1", "198.51.100.2"
SHARED, NEAR_SHARED = "100.64.7.1", "100.64.7.2"  # carrier-grade NAT
UNIQUE, NEAR_UNIQUE = "fd31:7::1", "fd31:7::2"
GLOBAL, NEAR_GLOBAL = "2001:db8:7::1", "2001:db8:7::2"
LINK, NEAR_LINK = "fe80::231:1", "fe80::231:2"
# of a host behind that one
FAR_PRIVATE, FAR_PUBLIC, FAR_GLOBAL = "192.168.77.2", "203.0.113.2", "2001:db8:8::2"
ROUTER = "203.0.113.1"  # near's own, towards far


class Network:
    """The three hosts; *link* is the camera's link-local address as `near` has to write it, *own_link* as itself."""

    def __init__(self, near: Host, far: Host) -> None:
        self.near, self.far = near, far
        ours, theirs = f"pa{os.getpid()}", f"pb{os.getpid()}"
        self.link, self.near_link = f"{LINK}%{theirs}", f"{NEAR_LINK}%{theirs}"
        self.own_link = f"{LINK}%{ours}"
        wire(
            CAMERA,
            near,
            {ours: f"{PRIVATE}/24 {AUTOMATIC}/16 {PUBLIC}/24 {SHARED}/24 {UNIQUE}/64 {GLOBAL}/64 {LINK}/64"},
            {
                theirs: f"{NEAR_PRIVATE}/24 {NEAR_AUTOMATIC}/16 {NEAR_PUBLIC}/24 {NEAR_SHARED}/24 {NEAR_UNIQUE}/64 "
                f"{NEAR_GLOBAL}/64 {NEAR_LINK}/64 198.51.100.3/24"
            },
        )
        wire(
            near,
            far,
            {"far": f"192.168.77.1/24 {ROUTER}/24 2001:db8:8::1/64"},
            {"near": f"{FAR_PRIVATE}/24 {FAR_PUBLIC}/24 {FAR_GLOBAL}/64"},
        )
        for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            near.run("sh", "-c", f"echo 1 >/proc/sys/net/{switch}")
        ip("-n", far.name, "route", "add", "default", "via", "192.168.77.1")
        ip("-n", far.name, "route", "add", "default", "via", "2001:db8:8::1")
        ip("route", "add", "192.168.77.0/24", "via", NEAR_PRIVATE)
        ip("route", "add", "203.0.113.0/24", "via", NEAR_PUBLIC)
        ip("route", "add", "2001:db8:8::/64", "via", NEAR_GLOBAL)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with hosts(2, beside_us=True) as (near, far):
        yield Network(near, far)


@pytest.fixture
def daemon(tmp_path: Path, network: Network) -> Iterator[Daemon]:  # noqa: ARG001
    """Run a daemon on all addresses; it reads this machine's addresses after the network was made."""
    with running(tmp_path / "daemon", EVERYWHERE) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


EVERYWHERE: dict[str, object] = {"http.listen_address": "", "video.width": 320, "video.height": 240}


def reload(daemon: Daemon, **http: object) -> None:
    daemon.reload({**EVERYWHERE, **{f"http.{key}": value for key, value in http.items()}})


def ask(sock: socket.socket, path: str = "/livez", fields: Sequence[str] = ()) -> tuple[int, str]:
    """Return status and body of *path*; close *sock*."""
    status, _, body = say(sock, path, fields)
    return status, body.decode()


def cases(network: Network) -> dict[str, tuple[Host, str, str]]:
    """Return, for each client address, its host, itself, and the address of the camera that it asks."""
    near, far = network.near, network.far
    return {
        NEAR_PRIVATE: (near, NEAR_PRIVATE, PRIVATE),
        NEAR_AUTOMATIC: (near, NEAR_AUTOMATIC, AUTOMATIC),
        NEAR_PUBLIC: (near, NEAR_PUBLIC, PUBLIC),
        NEAR_SHARED: (near, NEAR_SHARED, SHARED),
        NEAR_UNIQUE: (near, NEAR_UNIQUE, UNIQUE),
        NEAR_GLOBAL: (near, NEAR_GLOBAL, GLOBAL),
        NEAR_LINK: (near, network.near_link, network.link),
        FAR_PRIVATE: (far, FAR_PRIVATE, PRIVATE),
        FAR_PUBLIC: (far, FAR_PUBLIC, PUBLIC),
        FAR_GLOBAL: (far, FAR_GLOBAL, GLOBAL),
    }


LISTS: list[tuple[list[str], set[str]]] = [
    # a private address behind a router is still one of the household
    (["local"], {NEAR_PRIVATE, NEAR_AUTOMATIC, NEAR_UNIQUE, NEAR_GLOBAL, NEAR_LINK, FAR_PRIVATE}),
    ([], set()),
    ([NEAR_PRIVATE], {NEAR_PRIVATE}),
    (["10.0.0.0/8", "fd31:7::/64"], {NEAR_PRIVATE, NEAR_UNIQUE}),
    (["::ffff:10.231.7.0/120"], {NEAR_PRIVATE}),
    (["fe80::/10"], {NEAR_LINK}),
    (["100.64.0.0/10"], {NEAR_SHARED}),
    (["198.51.100.3"], set()),
    (["198.51.100.0/24", "2001:db8:8::/48"], {NEAR_PUBLIC, FAR_GLOBAL}),
    (["203.0.113.2"], {FAR_PUBLIC}),
    (["0.0.0.0/0"], {NEAR_PRIVATE, NEAR_AUTOMATIC, NEAR_PUBLIC, NEAR_SHARED, FAR_PRIVATE, FAR_PUBLIC}),
    (["::/0"], {NEAR_UNIQUE, NEAR_GLOBAL, NEAR_LINK, FAR_GLOBAL}),
]


@pytest.mark.parametrize("listen_address", ["", "0.0.0.0", "::"])
def test_allowed_networks_is_obeyed(tmp_path: Path, network: Network, listen_address: str) -> None:
    left_out = {"": "", "0.0.0.0": ":", "::": "."}[listen_address]
    own = "::1" if listen_address == "::" else "127.0.0.1"
    with running(tmp_path / "daemon", {"http.listen_address": listen_address}) as daemon:
        for networks, admitted in LISTS:
            reload(daemon, listen_address=listen_address, allowed_networks=networks)
            for name, (host, source, there) in cases(network).items():
                if left_out and left_out in there:
                    continue
                status, body = ask(host.connect(there, daemon.port, source))
                assert status == (200 if name in admitted else 403), (networks, name)
                if status == 403:
                    assert f"<h1>This camera does not serve {name}.</h1>" in body
                    present = ", ".join(f'"{network}"' for network in networks) + ", " if networks else ""
                    present = present if set(networks) <= {"local"} else "..., "
                    assert f'allowed_networks = [{present}"{name}"]' in body
            for address in (own, PRIVATE, PUBLIC, UNIQUE, GLOBAL, network.own_link):  # this machine itself always
                if not (left_out and left_out in address):
                    assert ask(CAMERA.connect(address, daemon.port))[0] == 200, (networks, address)


def test_a_prefix_that_arrives_at_runtime_is_local_too(daemon: Daemon, network: Network) -> None:
    ours, theirs = f"pa{os.getpid()}", f"pb{os.getpid()}"
    assert ask(network.near.connect(GLOBAL, daemon.port, NEAR_GLOBAL))[0] == 200
    for at, device, address in (((), ours, "2001:db8:9::1"), (("-n", network.near.name), theirs, "2001:db8:9::2")):
        ip(*at, "address", "add", f"{address}/64", "dev", device, "nodad")

    def admitted() -> bool:
        return ask(network.near.connect("2001:db8:9::1", daemon.port, "2001:db8:9::2"))[0] == 200

    try:
        until("let in", admitted, 15)
    finally:
        ip("address", "delete", "2001:db8:9::1/64", "dev", ours)
        ip("-n", network.near.name, "address", "delete", "2001:db8:9::2/64", "dev", theirs)


# -- proxies


@contextlib.contextmanager
def proxy(
    host: Host, there: tuple[str, int], source: str, say: Callable[[str, list[str]], list[str]]
) -> Iterator[Proxy]:
    proxy = Proxy(host, there, source, say)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.mark.parametrize(
    "say",
    [appends("X-Forwarded-For"), appends("Forwarded"), replaces("X-Real-IP"), replaces("X-Forwarded-For")],
    ids=["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-For-anew"],
)
def test_behind_a_trusted_proxy_the_client_is_checked_whatever_it_claims(
    daemon: Daemon, network: Network, say: Callable[[str, list[str]], list[str]]
) -> None:
    reload(daemon, trusted_proxies=[NEAR_PRIVATE])
    with proxy(network.near, (PRIVATE, daemon.port), NEAR_PRIVATE, say) as nginx:
        for lie in (
            [],
            [f"X-Forwarded-For: {FAR_PRIVATE}"],
            [f"X-Forwarded-For: 127.0.0.1, {NEAR_PRIVATE}"],
            [f"Forwarded: for={FAR_PRIVATE}"],
            [f"Forwarded: for={FAR_PRIVATE}, for=127.0.0.1"],
            [f"X-Real-IP: {FAR_PRIVATE}"],
            ["X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Forwarded-For: 127.0.0.1"],
        ):
            status, body = ask(network.far.connect(ROUTER, nginx.port, FAR_PUBLIC), fields=lie)
            assert status == 403, (lie, body)
        status, body = ask(network.far.connect(ROUTER, nginx.port, FAR_PUBLIC))
        assert body.startswith(f"This camera does not serve {FAR_PUBLIC}.")
        assert ask(network.far.connect(ROUTER, nginx.port, FAR_PRIVATE))[0] == 200
        reload(daemon, trusted_proxies=[NEAR_PRIVATE], allowed_networks=[FAR_PUBLIC])
        assert ask(network.far.connect(ROUTER, nginx.port, FAR_PUBLIC))[0] == 200
        assert ask(network.far.connect(ROUTER, nginx.port, FAR_PRIVATE))[0] == 403
        # the proxy for itself is judged as anybody else
        assert ask(network.near.connect(PRIVATE, daemon.port, NEAR_PRIVATE))[0] == 403


def test_an_unknown_proxy_lets_in_no_forbidden_client(daemon: Daemon, network: Network) -> None:
    """A proxy in a container, for example, has a private address."""
    with proxy(network.near, (PRIVATE, daemon.port), NEAR_PRIVATE, appends("X-Forwarded-For")) as nginx:
        status, body = ask(network.far.connect(ROUTER, nginx.port, FAR_PUBLIC))
        assert status == 403 and f'trusted_proxies = ["{NEAR_PRIVATE}"]' in body
        assert ask(network.far.connect(ROUTER, nginx.port, FAR_PUBLIC), fields=[f"X-Real-IP: {NEAR_PRIVATE}"])[0] == 403
        assert ask(network.far.connect(ROUTER, nginx.port, FAR_PRIVATE))[0] == 200


@pytest.mark.parametrize("own", ["127.0.0.1", PRIVATE, PUBLIC])
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_a_proxy_on_this_machine_is_refused_until_it_is_trusted(
    daemon: Daemon, network: Network, header: str, own: str
) -> None:
    with proxy(CAMERA, (own, daemon.port), own, appends(header)) as nginx:
        for source in (NEAR_PUBLIC, NEAR_PRIVATE):
            status, body = ask(network.near.connect(PUBLIC if source == NEAR_PUBLIC else PRIVATE, nginx.port, source))
            assert status == 403 and f'trusted_proxies = ["{own}"]' in body
        reload(daemon, trusted_proxies=[own])
        assert ask(network.near.connect(PUBLIC, nginx.port, NEAR_PUBLIC))[0] == 403
        assert ask(network.near.connect(PRIVATE, nginx.port, NEAR_PRIVATE))[0] == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For: ", "Forwarded: for=", "X-Real-IP: "])
def test_a_forbidden_client_gains_nothing_by_a_header(daemon: Daemon, network: Network, header: str) -> None:
    reload(daemon, trusted_proxies=[NEAR_PRIVATE])
    for told in ("127.0.0.1", NEAR_PRIVATE, PRIVATE):
        assert ask(network.near.connect(PUBLIC, daemon.port, NEAR_PUBLIC), fields=[header + told])[0] == 403


# -- refusals


def test_a_client_that_sends_a_megabyte_first_reads_the_whole_refusal(daemon: Daemon, network: Network) -> None:
    body = b"x" * 1_000_000
    request = f"POST /state HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    for turn in range(50):
        with network.near.connect(PUBLIC, daemon.port, NEAR_PUBLIC) as sock:
            sock.sendall(request)
            answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n"), turn
        head, _, page = answer.partition(b"\r\n\r\n")
        assert f"\r\nContent-Length: {len(page)}\r\n".encode() in head, turn
        assert b"the file that it belongs to, and the command for the reload.</p>\n" in page, turn


def test_the_line_to_add_keeps_the_list_and_only_the_log_shows_it(tmp_path: Path, network: Network) -> None:
    narrow = ["10.77.0.0/16", "192.168.77.5"]
    settings = {"http.listen_address": "", "http.allowed_networks": narrow, "http.trusted_proxies": ["10.78.0.1"]}
    with running(tmp_path / "daemon", {**settings, "http.allowed_hosts": ["camera.example.org"]}) as daemon:
        file, command = daemon.config_file, f"kill -HUP {daemon.process.pid}"
        status, body = ask(network.near.connect(PUBLIC, daemon.port, NEAR_PUBLIC))
        assert status == 403 and f'allowed_networks = [..., "{NEAR_PUBLIC}"]' in body
        text = f"GET /state HTTP/1.1\r\nHost: localhost\r\nX-Real-IP: {NEAR_PUBLIC}\r\n\r\n"
        for request, shown in (
            (text, 'trusted_proxies = [..., "127.0.0.1"]'),
            ("GET /state HTTP/1.1\r\nHost: garden.example.org\r\n\r\n", 'allowed_hosts = [..., "garden.example.org"]'),
        ):
            with daemon.connect(request) as sock:
                told = read_all(sock).decode()
            assert shown in told
            body += told
        for secret in (*narrow, "10.78.0.1", "camera.example.org", str(file), command):
            assert secret not in body
        for setting in (
            f'allowed_networks = ["10.77.0.0/16", "192.168.77.5", "{NEAR_PUBLIC}"]',
            'trusted_proxies = ["10.78.0.1", "127.0.0.1"]',
            'allowed_hosts = ["camera.example.org", "garden.example.org"]',
        ):
            assert f"If it should, set {setting} below [http] in {file}, then {command}\n" in daemon.log()


def test_a_refused_client_that_stays_delays_nobody(daemon: Daemon, network: Network) -> None:
    descriptors = Path(f"/proc/{daemon.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    viewer = Reading(daemon.watch())
    refused = [network.near.connect(PUBLIC, daemon.port, NEAR_PUBLIC, receive_buffer=2048) for _ in range(200)]
    try:
        for sock in refused[::2]:
            with contextlib.suppress(OSError):  # those whose time is up
                sock.sendall(b"GET /stream HTTP/1.1\r\n\r\n")
        for _ in range(20):
            begun = time.monotonic()
            assert ask(network.near.connect(PRIVATE, daemon.port, NEAR_PRIVATE))[0] == 200
            assert time.monotonic() - begun < patience(1)
        # though all 200 are still there; the viewer and what asks have one each
        until("none of them held", lambda: len(list(descriptors.iterdir())) <= before + 2, 10)
    finally:
        for sock in refused:
            sock.close()
    assert len(viewer.finish()) > 5


def test_refusals_are_logged_once_a_minute_for_each_address_and_counted_always(
    daemon: Daemon, network: Network
) -> None:
    reload(daemon, trusted_proxies=[NEAR_PRIVATE])
    for _ in range(20):
        assert ask(network.near.connect(PUBLIC, daemon.port, NEAR_PUBLIC))[0] == 403
    assert ask(network.near.connect(PUBLIC, daemon.port, "198.51.100.3"))[0] == 403
    with proxy(network.near, (PRIVATE, daemon.port), NEAR_PRIVATE, appends("X-Forwarded-For")) as nginx:
        for source in (FAR_PUBLIC, FAR_PUBLIC, "203.0.113.3"):
            if source == "203.0.113.3":
                ip("-n", network.far.name, "address", "add", f"{source}/24", "dev", "near")
            assert ask(network.far.connect(ROUTER, nginx.port, source))[0] == 403
    for address in (NEAR_PUBLIC, "198.51.100.3", FAR_PUBLIC, "203.0.113.3"):
        assert daemon.log().count(f"refused {address}: This camera does not serve {address}.") == 1
    assert 'pi_cam_http_denied_total{reason="network"} 24.0' in daemon.get("/metrics")[2].decode()


# -- reloads


def ended(viewer: Viewer, reloaded_at: float) -> bool:
    """Return whether the stream ended within a second of *reloaded_at*."""
    try:
        while time.monotonic() < reloaded_at + 10:
            viewer.part()
    except (AssertionError, ConnectionError):
        return time.monotonic() - reloaded_at < 1
    finally:
        viewer.close()
    return False


def test_a_network_taken_off_the_list_ends_its_streams_and_no_others(daemon: Daemon, network: Network) -> None:
    reload(daemon, trusted_proxies=[NEAR_PRIVATE])
    with proxy(network.near, (PRIVATE, daemon.port), NEAR_PRIVATE, appends("X-Forwarded-For")) as nginx:
        leaving = {
            "direct": watch(network.near.connect(PRIVATE, daemon.port, NEAR_PRIVATE)),
            "routed": watch(network.far.connect(PRIVATE, daemon.port, FAR_PRIVATE)),
            "proxied": watch(network.far.connect(ROUTER, nginx.port, FAR_PRIVATE)),
            "own prefix": watch(network.near.connect(GLOBAL, daemon.port, NEAR_GLOBAL)),
            "link-local": watch(network.near.connect(network.link, daemon.port, network.near_link)),
        }
        staying = [Reading(watch(network.near.connect(UNIQUE, daemon.port, NEAR_UNIQUE))), Reading(daemon.watch())]
        for viewer in leaving.values():
            viewer.parts(3)
        found: dict[str, bool] = {}
        reload(daemon, trusted_proxies=[NEAR_PRIVATE], allowed_networks=["fd31:7::/64"])
        now = time.monotonic()
        threads = [
            threading.Thread(target=lambda name=name, viewer=viewer: found.update({name: ended(viewer, now)}))
            for name, viewer in leaving.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(patience(20))
        assert found == dict.fromkeys(leaving, True)
        counts = [len(reading.parts) for reading in staying]
        until("more pictures", lambda: all(len(r.parts) > n + 10 for r, n in zip(staying, counts, strict=True)))
        for reading in staying:
            reading.finish()
        assert daemon.state()["viewers"] == 2


def test_a_proxied_viewer_is_cut_with_its_network_or_its_proxys_trust(daemon: Daemon, network: Network) -> None:
    for rest in ({"allowed_networks": ["10.231.7.0/24"], "trusted_proxies": [NEAR_PRIVATE]}, {"trusted_proxies": []}):
        reload(daemon, trusted_proxies=[NEAR_PRIVATE])
        with proxy(network.near, (PRIVATE, daemon.port), NEAR_PRIVATE, appends("X-Forwarded-For")) as nginx:
            viewer = watch(network.far.connect(ROUTER, nginx.port, FAR_PRIVATE))
            viewer.parts(3)
            reload(daemon, **rest)
            assert ended(viewer, time.monotonic())


def test_a_reload_that_changes_nothing_ends_no_stream(daemon: Daemon, network: Network) -> None:
    viewers = [
        Reading(watch(host.connect(there, daemon.port, source)))
        for name, (host, source, there) in cases(network).items()
        if name in (NEAR_PRIVATE, NEAR_GLOBAL, NEAR_LINK, NEAR_UNIQUE, FAR_PRIVATE)
    ]
    for _ in range(10):
        reload(daemon)
    counts = [len(viewer.parts) for viewer in viewers]
    until("more pictures", lambda: all(len(v.parts) > n + 10 for v, n in zip(viewers, counts, strict=True)))
    for viewer in viewers:
        viewer.finish()


def test_a_kept_alive_connection_is_checked_at_each_request(daemon: Daemon, network: Network) -> None:
    with network.near.connect(PRIVATE, daemon.port, NEAR_PRIVATE) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in sock.recv(4096)
        reload(daemon, allowed_networks=[])
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 403") and b"\r\nConnection: close\r\n" in answer
    assert f"does not serve {NEAR_PRIVATE}".encode() in answer
