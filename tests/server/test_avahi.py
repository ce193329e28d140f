"""avahi-browse finds a camera on another host of its network that has no configuration for it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pi_cam_daemon import __version__
from tests.kit.daemon import ROOT
from tests.kit.lateness import patience
from tests.kit.network import Host, hosts, wire
from tests.kit.wait import until

# a network's name, avahi's folders and user, and D-Bus, as on a machine of its own; the rest is this one's
BOOT = r"""
set -e
hostname "$0"
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus /run/avahi-daemon /etc/avahi
mount -t tmpfs tmpfs /etc/avahi
mkdir /etc/avahi/services
for file in passwd group; do
    { grep -v ^avahi: /etc/$file; echo avahi:x:0:0::/:/bin/false; } >/run/$file
    mount --bind /run/$file /etc/$file
done
printf '%s\n' "$1" >/run/bus
dbus-daemon --config-file=/run/bus --fork
printf '[server]\nhost-name=%s\nallow-interfaces=eth0\nuse-ipv6=no\n' "$0" >/run/avahi
exec avahi-daemon --no-drop-root --no-rlimits --no-chroot -f /run/avahi
"""
BUS = """<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><policy context="default">
<allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>"""


@dataclass(frozen=True)
class Machine:
    """A host with its own avahi-daemon, whose process is *pid*."""

    pid: int

    def run(self, *argv: str | Path) -> str:
        inside = ["nsenter", "-t", str(self.pid), "--mount", "--net", "--uts", "env", f"PYTHONPATH={ROOT}"]
        done = subprocess.run([*inside, *argv], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def browse(self, kind: str) -> list[list[str]]:
        """Return the resolved services: fields as in avahi-browse(1)."""
        lines = self.run("avahi-browse", "--resolve", "--parsable", "--terminate", "--no-db-lookup", kind).splitlines()
        return [line.split(";") for line in lines if line.startswith("=")]


@contextlib.contextmanager
def machine(host: Host, name: str, log: Path) -> Iterator[Machine]:
    inside = ["nsenter", f"--net=/run/netns/{host.name}"]
    with log.open("wb") as output:
        # avahi becomes process 1, and all others end with it
        alone = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        process = subprocess.Popen(
            [*inside, *alone, "sh", "-c", BOOT, name, BUS], stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        # beside a namesake it may try some numbers, one in two seconds
        until(f"avahi runs on {name}", lambda: "startup complete" in log.read_text(), 40)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Machine(int(child))
    finally:
        process.kill()
        process.wait(patience(10))
        print(f"--- avahi on {name}", log.read_text(), sep="\n")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """A camera's host and another host of its network."""
    if not shutil.which("avahi-daemon") or not shutil.which("dbus-daemon"):
        pytest.skip("needs avahi-daemon and dbus-daemon, which scripts/test brings")
    with hosts(2) as (one, other):
        wire(one, other, {"eth0": "10.9.0.1/24"}, {"eth0": "10.9.0.2/24"})
        with machine(one, "picam-7", tmp_path / "camera") as camera, machine(other, "desk", tmp_path / "desk") as desk:
            yield camera, desk


@pytest.fixture
def namesakes(tmp_path: Path) -> Iterator[Machine]:
    """A camera's host whose name another host of its network has already."""
    if not shutil.which("avahi-daemon") or not shutil.which("dbus-daemon"):
        pytest.skip("needs avahi-daemon and dbus-daemon, which scripts/test brings")
    with hosts(2) as (one, other):
        wire(one, other, {"eth0": "10.9.0.1/24"}, {"eth0": "10.9.0.2/24"})
        with machine(other, "picam", tmp_path / "first"), machine(one, "picam", tmp_path / "second") as second:
            yield second


def test_the_name_that_avahi_gave_is_printed_and_announced(namesakes: Machine) -> None:
    program = "from pi_cam_daemon.system.network import *; print(*listening_addresses('http', '', 8000))"
    namesakes.run(sys.executable, "-m", "pi_cam_daemon", "announce")

    def agreed() -> tuple[str, list[str]] | None:
        """Return the announced number and what is printed once both have it; avahi may count further meanwhile."""
        printed = namesakes.run(sys.executable, "-c", program).split()
        for found in namesakes.browse("_pi-cam._tcp"):
            number = found[6].removeprefix("picam-").removesuffix(".local")
            if number.isdecimal() and found[3] == rf"Camera\032picam-{number}" and f"picam-{number}." in printed[-1]:
                return number, printed
        return None

    number, printed = until("the same name in both", agreed, 20)
    assert int(number) >= 2
    assert printed == ["http://localhost:8000/", "http://10.9.0.1:8000/", f"http://picam-{number}.local:8000/"]


def test_a_camera_is_found_by_both_of_its_services_until_it_is_withdrawn(network: tuple[Machine, Machine]) -> None:
    camera, desk = network
    program = [sys.executable, "-m", "pi_cam_daemon", "announce"]
    camera.run(*program)
    for kind in ("_pi-cam._tcp", "_http._tcp"):
        # both know of it by IPv4 alone
        (found,) = until(f"{kind} on the other host", lambda kind=kind: desk.browse(kind), 20)
        _, _, protocol, name, announced, domain, host, address, port, texts = found
        assert (protocol, name, announced, domain) == ("IPv4", r"Camera\032picam-7", kind, "local")
        assert (host, address, port) == ("picam-7.local", "10.9.0.1", "8000")
        said = dict(text.strip('"').split("=", 1) for text in texts.split())
        assert said == {
            "txtvers": "1",
            "version": __version__,
            "path": "/",
            "stream": "/stream",
            "snapshot": "/snapshot",
            "health": "/healthz",
            "scheme": "http",
        }
    camera.run(*program, "--withdraw")
    until("nothing", lambda: not desk.browse("_pi-cam._tcp"), 20)
