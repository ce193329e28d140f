from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import ROOT
from tests.kit.wait import until
from tests.kit.wire import Reading, ask, watch
from tests.systemd import hosts
from tests.systemd.hosts import Host

UNIT = "pi-cam-daemon.service"
DROP_INS = "/etc/systemd/system/pi-cam-daemon.service.d"
ETC = "/etc/pi-cam-daemon"
STATE = "/var/lib/pi-cam-daemon"
# where the hosts find the artefact
SRV = "/srv/releases"
# a test picture, small, so that what is measured is not the two cores of a test machine
SETTINGS = {"source.kind": "pattern", "video.width": 320, "video.height": 240}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_debian: another systemd, Python or apt may do it in another way")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that would show the same on another Debian; with --soak keep all."""
    if not config.getoption("--soak"):
        items[:] = [item for item in items if not repeats(item)]


def repeats(item: pytest.Item) -> bool:
    """Return whether the first Debian shows the same."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return any(suite in parameters for suite in hosts.SUITES[1:]) and not item.get_closest_marker("every_debian")


@pytest.fixture(scope="session")
def lab() -> Iterator[Path]:
    if os.getpid() != 1:
        pytest.skip("runs in namespaces of its own, which scripts/test systemd makes")
    with hosts.lab() as group:
        yield group


@pytest.fixture(scope="session")
def artefact() -> Path:
    """The artefact to install; scripts/test has built it where there is a network."""
    return Path(hosts.sh(ROOT / "tests/systemd/rig/artefact").strip())


@pytest.fixture(scope="session", params=hosts.SUITES)
def host(
    request: pytest.FixtureRequest, lab: Path, artefact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A running Debian with the daemon installed and stopped, shared by the tests; `camera` cleans it for each."""
    suite: str = request.param
    host = Host(suite, 1 + hosts.SUITES.index(suite), tmp_path_factory.mktemp(suite), lab)
    try:
        deliver(host, artefact)
        host.boot()
        host.run(f"{SRV}/install", "--from", f"{SRV}/artefact.tar.zst", "--settle-seconds", "0", timeout=120)
        host.run("systemctl", "disable", "--now", UNIT)
        # the units that only a card has are shown here as well
        for unit in (ROOT / "systemd").glob("pi-cam-daemon-*boot.service"):
            host.write(f"/usr/local/lib/systemd/system/{unit.name}", unit.read_text())
        host.run("systemctl", "daemon-reload")
        yield host
    finally:
        host.close()


def deliver(host: Host, artefact: Path) -> None:
    """Put the artefact and its installer on a host."""
    folder = host.disk / SRV[1:]
    folder.mkdir()
    shutil.copy2(artefact, folder / "artefact.tar.zst")
    hosts.sh("tar", "--zstd", "-xf", artefact, "-C", folder, "install", "installer")


class Camera:
    """The installed service as viewers and its owner see it."""

    def __init__(self, host: Host, unit: str = UNIT, port: int = 8000) -> None:
        self.host = host
        self.unit = unit
        self.port = port

    # -- the owner

    def configure(self, settings: Mapping[str, object], file: str = f"{ETC}/config.toml") -> None:
        every = {**SETTINGS, **settings}
        self.host.write(file, "".join(f"{key} = {json.dumps(value)}\n" for key, value in every.items()))

    def drop_in(self, text: str) -> None:
        self.host.write(f"{DROP_INS}/test.conf", f"[Service]\n{text}\n")
        self.host.run("systemctl", "daemon-reload")

    def start(self) -> None:
        self.host.run("systemctl", "restart", self.unit)
        self.wait_for_pictures()

    def show(self, name: str) -> str:
        return self.host.show(self.unit, name)

    def main_pid(self) -> int:
        """Return the server's process id as the tests see it."""
        return self.host.pids(self.unit)[int(self.show("MainPID"))]

    def camera_pid(self) -> int:
        """Return the camera's process id as the tests see it."""
        pid = self.state()["camera_process"]["pid"]
        return self.host.pids(self.unit)[pid]

    def journal(self, since: str = "") -> str:
        """Return the log of the service, and systemd's about it, from the cursor *since* on."""
        after = [f"--after-cursor={since}"] if since else []
        self.host.run("journalctl", "--sync")
        return self.host.run("journalctl", "-q", "-u", self.unit, "-o", "cat", "--no-pager", *after)

    def now(self) -> str:
        """Return the journal's end, for `journal`."""
        self.host.run("journalctl", "--sync")
        return self.host.run("journalctl", "-q", "-n", "0", "--show-cursor").removeprefix("-- cursor: ")

    # -- a viewer

    def get(self, path: str, timeout: float = 5.0) -> tuple[int, bytes]:
        status, _, body = ask(f"http://{self.host.address}:{self.port}{path}", timeout)
        return status, body

    def state(self) -> dict[str, Any]:
        table: dict[str, Any] = json.loads(self.get("/state")[1])
        return table

    def gives_pictures(self) -> bool:
        """Return whether a snapshot is served now; a stopped server accepts connections and sends nothing."""
        try:
            return self.get("/snapshot", timeout=1.0)[0] == 200
        except OSError:
            return False

    def wait_for_pictures(self, seconds: float = 20.0) -> None:
        until("pictures", self.gives_pictures, seconds)

    def watch(self) -> Reading:
        sock = socket.create_connection((self.host.address, self.port), 10)
        return Reading(watch(sock, host=self.host.address))


@pytest.fixture
def stopped(host: Host) -> Iterator[Camera]:
    """The service installed, configured to show a test picture, and not started."""
    instances = (f"/var/lib/{folder.name}" for folder in host.disk.glob(f"{STATE[1:]}@*"))
    for path in (ETC, DROP_INS, STATE, *instances):
        host.remove(path)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "reset-failed")
    camera = Camera(host)
    camera.configure({})
    since = camera.now()
    yield camera
    print(f"--- the journal\n{camera.journal(since)}")
    host.run("systemctl", "stop", UNIT)


@pytest.fixture
def camera(stopped: Camera) -> Camera:
    """The service, showing a test picture."""
    stopped.start()
    return stopped
