"""The whole daemon on the virtual camera, in the rig's root: its process, its camera process, and HTTP."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

pytest.importorskip("virtual_camera", reason="runs in the root that tests/picamera/rig/setup makes")

from PIL import Image

RIG = Path(__file__).parent / "rig"
CHECKOUT = RIG.parents[2]
CONFIG = """
source.kind = "csi"
csi.camera = "VirtualBars"
video.framerate = 20
http.listen_address = "127.0.0.1"
http.port = 0
"""
# the camera process loads picamera2 first
START_SECONDS = 20.0


def wait_until(true: Callable[[], Any], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


class Stream:
    """A viewer's connection; its reads fail after a while without a byte."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        self._connection.request("GET", "/stream")
        response = self._connection.getresponse()
        assert response.status == 200
        boundary = response.headers.get_param("boundary")
        self._delimiter = b"--%s\r\n" % str(boundary).encode()
        self._body: BinaryIO = response

    def part(self) -> tuple[float, bytes]:
        """The next picture and its X-Timestamp."""
        while (line := self._body.readline()) != self._delimiter:
            assert line == b"\r\n", f"{line!r} between two parts"
        headers = dict(line.decode().lower().split(": ", 1) for line in iter(self._body.readline, b"\r\n"))
        jpeg = self._body.read(int(headers["content-length"]))
        return float(headers["x-timestamp"]), jpeg

    def wait_for_pictures(self) -> None:
        """Read on until six different pictures from after this moment have come: more than there are cards."""
        begun = time.time()
        deadline = time.monotonic() + START_SECONDS
        seen = set()
        while len(seen) < 6:
            assert time.monotonic() < deadline, "no live picture"
            timestamp, jpeg = self.part()
            if timestamp > begun:
                seen.add(jpeg)

    def close(self) -> None:
        self._body.close()
        self._connection.close()


class Daemon:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        status, body = self.get("/state")
        assert status == 200
        table: dict[str, Any] = json.loads(body)
        return table

    def camera_pids(self) -> list[int]:
        """Its camera processes, as the kernel knows them."""
        found = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(line.split()[0]) for line in found.stdout.splitlines() if str(RIG / "camera.py") in line]

    def wait_for_camera(self) -> int:
        """The process id of the camera, once it streams."""
        wait_until(lambda: self.state()["state"] == "streaming")
        (pid,) = self.camera_pids()
        return pid

    @contextlib.contextmanager
    def stream(self) -> Iterator[Stream]:
        stream = Stream(self.port)
        try:
            yield stream
        finally:
            stream.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons; ends them, and holds that they end in order."""
    daemons: list[Daemon] = []
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)

    def start_one(*settings: str) -> Daemon:
        log = (tmp_path / f"daemon-{len(daemons)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, RIG / "daemon.py", config, *settings],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        assert process.stdout is not None
        greeting = process.stdout.readline()
        port = re.search(r":(\d+)/", greeting)
        assert port, f"{greeting!r}, and it logged {Path(log.name).read_text()}"
        daemons.append(Daemon(process, int(port[1])))
        return daemons[-1]

    yield start_one
    for daemon in daemons:
        daemon.process.terminate()
    for number, daemon in enumerate(daemons):
        try:
            status = daemon.process.wait(10)
        except subprocess.TimeoutExpired:
            daemon.process.kill()
            daemon.process.wait()
            raise
        finally:
            print((tmp_path / f"daemon-{number}.log").read_text())
            assert daemon.process.stdout is not None
            daemon.process.stdout.close()
        assert status == 0
        assert daemon.camera_pids() == []


def test_streams_at_the_cameras_rate(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait_for_camera()
    with daemon.stream() as stream:
        stream.wait_for_pictures()
        parts = [stream.part() for _ in range(41)]
    times = [timestamp for timestamp, _ in parts]
    assert 40 / (times[-1] - times[0]) == pytest.approx(20, rel=0.2)
    for _, jpeg in parts:
        assert Image.open(io.BytesIO(jpeg)).size == (640, 480)


def test_names_the_camera_and_its_encoder(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait_for_camera()
    state = daemon.state()
    assert state["source"]["kind"] == "csi"
    assert state["camera"]["name"] == "Virtual Bars"
    assert state["camera"]["encoder"] == "software JPEG of NV12"
    assert (state["camera"]["width"], state["camera"]["height"], state["camera"]["framerate"]) == (640, 480, 20.0)


def test_a_snapshot_is_a_new_picture(start: Callable[..., Daemon]) -> None:
    daemon = start()
    daemon.wait_for_camera()
    pictures = set()
    for _ in range(3):
        status, jpeg = daemon.get("/snapshot?max_age_ms=0")
        assert status == 200
        assert Image.open(io.BytesIO(jpeg)).size == (640, 480)
        pictures.add(jpeg)
    assert len(pictures) == 3


def test_an_on_demand_camera_runs_only_while_somebody_looks(start: Callable[..., Daemon]) -> None:
    daemon = start('source.capture="on-demand"', "source.idle_seconds=1")
    wait_until(lambda: daemon.state()["state"] == "idle")
    assert daemon.camera_pids() == []

    status, jpeg = daemon.get("/snapshot")
    assert status == 200
    assert Image.open(io.BytesIO(jpeg)).size == (640, 480)
    wait_until(lambda: daemon.camera_pids() == [])

    with daemon.stream() as stream:
        stream.wait_for_pictures()
        assert len(daemon.camera_pids()) == 1
    wait_until(lambda: daemon.state()["state"] == "idle")
    wait_until(lambda: daemon.camera_pids() == [])


def test_two_daemons_serve_two_cameras(start: Callable[..., Daemon]) -> None:
    daemons = [start("csi.camera=0"), start("csi.camera=1")]
    for daemon, name in zip(daemons, ("Virtual Frames", "Virtual Bars"), strict=True):
        daemon.wait_for_camera()
        assert daemon.state()["camera"]["name"] == name
        with daemon.stream() as stream:
            stream.wait_for_pictures()


@pytest.mark.parametrize("deed", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_viewers_stay_connected_when_the_camera_process_dies_or_hangs(
    start: Callable[..., Daemon], deed: signal.Signals
) -> None:
    daemon = start("source.stall_timeout_seconds=1")
    old = daemon.wait_for_camera()
    with daemon.stream() as stream:
        stream.wait_for_pictures()
        os.kill(old, deed)
        wait_until(lambda: daemon.camera_pids() not in ([], [old]))
        stream.wait_for_pictures()
    assert daemon.wait_for_camera() != old
    assert daemon.state()["camera_process"]["starts"] == 2


def test_a_still_comes_in_full_size_and_the_viewers_stay(start: Callable[..., Daemon]) -> None:
    daemon = start()
    pid = daemon.wait_for_camera()
    with daemon.stream() as stream:
        stream.wait_for_pictures()
        status, jpeg = daemon.get("/still.jpg")
        assert status == 200
        assert Image.open(io.BytesIO(jpeg)).size == (1280, 720)
        stream.wait_for_pictures()
    assert daemon.camera_pids() == [pid]
