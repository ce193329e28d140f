"""nginx and haproxy in front of the camera, with the configuration of docs/integrations.md."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.clients import document, picture
from tests.conftest import Report
from tests.kit.daemon import running
from tests.kit.lateness import patience
from tests.kit.network import CAMERA, Host, hosts, wire
from tests.kit.wait import free_port, until
from tests.kit.wire import Reading, Viewer, ask, watch

NAME = "cameras.example.org"
FRAME_SECONDS = 1 / 25
HOST_LINE = "proxy_set_header Host $http_host;"
# the proxy's address and the client's, in a network of the household and in one of the internet
INSIDE, OUTSIDE = ("10.231.9.1", "10.231.9.2"), ("198.51.100.1", "198.51.100.2")


@dataclass(frozen=True)
class Proxy:
    """A proxy that listens on *port*, on 127.0.0.1 at least."""

    name: str
    port: int

    def watch(self) -> Viewer:
        sock = socket.create_connection(("127.0.0.1", self.port), 10)
        return watch(sock, host=NAME)

    def status(self, path: str) -> int:
        """Return the status of the answer, 0 without an answer."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Host": NAME})
        try:
            return ask(asked)[0]
        except OSError:
            return 0


# below its -p: those that it was built with are there only where Debian's package is installed
NGINX_FOLDERS = "".join(f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


def command(name: str, listen: str, camera: int, folder: Path, host: str) -> list[str | Path]:
    """Return the command that runs the proxy *name* on the address *listen* before the camera on port *camera*.

    *host* replaces the line of nginx that passes on Host.
    """
    replaced = {document.CAMERA: f"127.0.0.1:{camera}"}
    config = folder / f"{name}.conf"
    if name == "haproxy":
        config.write_text(document.block(name, 0, replaced | {"bind :80": f"bind {listen}"}))
        return ["haproxy", "-db", "-f", config]
    server = document.block(name, 0, replaced | {"listen 80": f"listen {listen}", HOST_LINE: host})
    # what a nginx.conf has around a server, with all files below its -p
    around = f"daemon off; pid pid; error_log stderr; events {{}} http {{ access_log off; {NGINX_FOLDERS}"
    config.write_text(f"{around}\n{server}}}\n")
    return ["nginx", "-p", folder, "-c", config]


@contextlib.contextmanager
def in_front(
    name: str, camera: int, folder: Path, host: str = HOST_LINE, address: str = "127.0.0.1"
) -> Iterator[Proxy]:
    if not shutil.which(name):
        pytest.skip(f"needs {name}, which scripts/test brings")
    proxy = Proxy(name, free_port())
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            command(name, f"{address}:{proxy.port}", camera, folder, host),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        until(f"{name} serves the camera", lambda: proxy.status("/livez") == 200)
        yield proxy
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(patience(5))
        print(f"--- {name}", (folder / "proxy.log").read_text(), sep="\n")


def settings(**more: object) -> dict[str, object]:
    """Return the settings that the document gives for a camera behind a proxy."""
    http = tomllib.loads(document.block("nginx", 1, {"192.168.1.2": "127.0.0.1"}))["http"]
    return {f"http.{key}": value for key, value in http.items()} | more


PROXIES = pytest.mark.parametrize("name", ["nginx", "haproxy"])


@PROXIES
def test_a_picture_comes_less_than_a_frame_later_than_without_the_proxy(
    name: str, tmp_path: Path, report: Report
) -> None:
    with running(tmp_path / "daemon", settings()) as daemon, in_front(name, daemon.port, tmp_path) as proxy:
        daemon.wait_for_state("streaming", 30)
        straight, through = Reading(daemon.watch()), Reading(proxy.watch())
        until("100 pictures", lambda: len(through.parts) > 100)
        arrived = {part.timestamp: part.arrived for part in straight.finish()}
        later = [part.arrived - arrived[part.timestamp] for part in through.finish() if part.timestamp in arrived]
        assert len(later) > 50
        report(f"median {statistics.median(later) * 1000:.1f} ms, most {max(later) * 1000:.1f} ms later")
        assert statistics.median(later) < FRAME_SECONDS


@PROXIES
def test_a_killed_camera_is_survived_on_the_same_connection(name: str, tmp_path: Path) -> None:
    with running(tmp_path / "daemon", settings()) as daemon, in_front(name, daemon.port, tmp_path) as proxy:
        daemon.wait_for_state("streaming", 30)
        viewer = proxy.watch()
        viewer.next_where("the test picture", lambda part: picture.is_upright(part.jpeg))
        pid = daemon.camera_pid()
        os.kill(pid, signal.SIGSTOP)
        daemon.fault("opens-slowly")
        os.kill(pid, signal.SIGKILL)
        viewer.next_where("the card", lambda part: not picture.is_upright(part.jpeg))
        viewer.next_where("the test picture again", lambda part: picture.is_upright(part.jpeg), 30)
        viewer.close()


@PROXIES
def test_a_camera_that_was_off_is_served_again_without_touching_the_proxy(name: str, tmp_path: Path) -> None:
    with running(tmp_path / "before", settings()) as daemon, in_front(name, daemon.port, tmp_path) as proxy:
        viewer = Reading(proxy.watch())
        until("a picture", lambda: viewer.parts)
        daemon.stop()
        until("the viewer's connection ends", lambda: not viewer.is_alive())
        until("an error", lambda: proxy.status("/snapshot") == {"nginx": 502, "haproxy": 503}[name])
        with running(tmp_path / "after", settings(**{"http.port": daemon.port})) as after:
            after.wait_for_state("streaming", 30)
            until("a snapshot", lambda: proxy.status("/snapshot") == 200, 2)
            proxy.watch().parts(10)


@pytest.fixture
def client() -> Iterator[Host]:
    """A host with an address that may look and one that may not; the proxy is on the other end of its cable."""
    with hosts(1, beside_us=True) as (host,):
        device = f"px{os.getpid()}"
        ours, theirs = f"{INSIDE[0]}/24 {OUTSIDE[0]}/24", f"{INSIDE[1]}/24 {OUTSIDE[1]}/24"
        wire(CAMERA, host, {device: ours}, {f"{device}c": theirs})
        yield host


@PROXIES
def test_the_camera_checks_the_address_that_the_proxy_forwards(name: str, tmp_path: Path, client: Host) -> None:
    with (
        running(tmp_path / "daemon", settings()) as daemon,
        in_front(name, daemon.port, tmp_path, address="0.0.0.0") as proxy,
    ):
        # what a client says of itself is dropped, whether it would let in or keep out
        for claimed in ("", "X-Forwarded-For: {}", "X-Real-IP: {}", "Forwarded: for={}"):
            for (there, source), other, wanted in ((INSIDE, OUTSIDE[1], 200), (OUTSIDE, INSIDE[1], 403)):
                lines = ["GET /livez HTTP/1.1", f"Host: {NAME}", claimed.format(other)]
                with client.connect(there, proxy.port, source) as sock:
                    sock.sendall("\r\n".join([*filter(None, lines), "", ""]).encode())
                    answer = HTTPResponse(sock)
                    answer.begin()
                    body = answer.read().decode()
                assert answer.status == wanted, (source, claimed, body)
                assert wanted == 200 or f"This camera does not serve {source}." in body


@pytest.mark.parametrize(
    ("name", "host", "plain"),
    [
        ("nginx", HOST_LINE, 200),
        ("nginx", "", 403),  # the camera's address
        ("nginx", "proxy_set_header Host $host;", 403),  # without the port
        ("nginx", "proxy_set_header Host $host; proxy_set_header X-Forwarded-Port $server_port;", 200),
        ("nginx", "proxy_set_header X-Forwarded-Host $http_host;", 200),
        ("haproxy", HOST_LINE, 200),
    ],
)
def test_the_page_of_the_camera_may_change_controls(name: str, host: str, plain: int, tmp_path: Path) -> None:
    with running(tmp_path / "daemon", settings()) as daemon, in_front(name, daemon.port, tmp_path, host) as proxy:
        daemon.wait_for_state("streaming", 30)  # before, there are no controls
        own = {"Host": f"{NAME}:{proxy.port}", "Origin": f"http://{NAME}:{proxy.port}"}
        other = {**own, "Origin": "http://attacker.example"}

        def post(headers: dict[str, str]) -> tuple[int, bytes]:
            headers = {**headers, "Content-Type": "application/json"}
            asked = urllib.request.Request(f"http://127.0.0.1:{proxy.port}/controls", b"{}", headers)
            status, _, body = ask(asked)
            return status, body

        # browsers tell the site over https, and to this machine
        assert post({**own, "Sec-Fetch-Site": "same-origin"})[0] == 200
        assert post({**other, "Sec-Fetch-Site": "cross-site"})[0] == post(other)[0] == 403
        status, body = post(own)
        assert status == plain
        assert status == 200 or f'cors_origins = ["http://{NAME}:{proxy.port}"]'.encode() in body
