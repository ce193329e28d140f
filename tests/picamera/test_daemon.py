"""The whole daemon on the virtual camera, in the rig's root: server, camera process and HTTP."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from tests.kit.daemon import Daemon, running
from tests.kit.wait import until
from tests.kit.wire import Viewer
from tests.picamera.pi import IMX219, EncoderNode

RIG = Path(__file__).parent / "rig"
SETTINGS = {"source.kind": "csi", "csi.camera": IMX219, "video.framerate": 20}
# the camera process loads picamera2 first
START_SECONDS = 20.0


def camera_pids(daemon: Daemon) -> list[int]:
    """Return the daemon's camera processes from /proc."""
    argv = ["ps", "-o", "pid=,args=", "--ppid", str(daemon.process.pid)]
    found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return [int(line.split()[0]) for line in found.splitlines() if str(RIG / "camera.py") in line]


def wait_for_camera(daemon: Daemon) -> int:
    """Return the process id of the camera once it streams."""
    daemon.wait_for_state("streaming", START_SECONDS)
    (pid,) = camera_pids(daemon)
    return pid


def wait_for_pictures(viewer: Viewer) -> None:
    """Read until six different new pictures have come; there are fewer different cards."""
    begun = time.time()
    seen = set()

    def six() -> bool:
        part = viewer.part()
        if part.timestamp > begun:
            seen.add(part.jpeg)
        return len(seen) == 6

    until("six live pictures", six, START_SECONDS)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons; stop them at the end and check that they end without errors."""
    daemons: list[Daemon] = []
    with contextlib.ExitStack() as stack:

        def start_one(**settings: object) -> Daemon:
            """Start a daemon; names of *settings* have __ for the dot."""
            every = SETTINGS | {name.replace("__", "."): value for name, value in settings.items()}
            argv = [sys.executable, RIG / "daemon.py"]
            daemons.append(stack.enter_context(running(tmp_path / f"daemon-{len(daemons)}", every, argv=argv)))
            return daemons[-1]

        yield start_one
        assert [daemon.stop(10) for daemon in daemons] == [0] * len(daemons)
        assert [camera_pids(daemon) for daemon in daemons] == [[]] * len(daemons)


def test_streams_at_the_cameras_rate(start: Callable[..., Daemon]) -> None:
    daemon = start()
    wait_for_camera(daemon)
    with closing(daemon.watch()) as viewer:
        wait_for_pictures(viewer)
        parts = viewer.parts(41)
    times = [part.timestamp for part in parts]
    assert 40 / (times[-1] - times[0]) == pytest.approx(20, rel=0.2)
    for part in parts:
        assert Image.open(io.BytesIO(part.jpeg)).size == (640, 480)


def test_names_the_camera_and_its_encoder(start: Callable[..., Daemon]) -> None:
    daemon = start()
    wait_for_camera(daemon)
    state = daemon.state()
    assert state["source"]["kind"] == "csi"
    assert state["camera"]["name"] == "imx219"
    assert state["camera"]["encoder"] == "hardware MJPEG (V4L2)"
    assert (state["camera"]["width"], state["camera"]["height"], state["camera"]["framerate"]) == (640, 480, 20.0)


def test_a_snapshot_is_a_new_picture(start: Callable[..., Daemon]) -> None:
    daemon = start()
    wait_for_camera(daemon)
    pictures = set()
    for _ in range(3):
        status, _, jpeg = daemon.get("/snapshot?max_age_ms=0")
        assert status == 200
        assert Image.open(io.BytesIO(jpeg)).size == (640, 480)
        pictures.add(jpeg)
    assert len(pictures) == 3


@pytest.mark.parametrize(("query", "size"), [("", (640, 480)), ("?size=small", (320, 240))], ids=["big", "small"])
def test_an_on_demand_camera_runs_only_while_somebody_looks(
    start: Callable[..., Daemon], query: str, size: tuple[int, int]
) -> None:
    daemon = start(source__capture="on-demand", source__idle_seconds=1)
    daemon.wait_for_state("idle", START_SECONDS)
    assert camera_pids(daemon) == []

    status, _, jpeg = daemon.get(f"/snapshot{query}")
    assert status == 200
    assert Image.open(io.BytesIO(jpeg)).size == size
    until("the camera is closed", lambda: camera_pids(daemon) == [], START_SECONDS)

    with closing(daemon.watch(f"/stream{query}")) as viewer:
        wait_for_pictures(viewer)
        assert len(camera_pids(daemon)) == 1
    daemon.wait_for_state("idle", START_SECONDS)
    until("the camera is closed", lambda: camera_pids(daemon) == [], START_SECONDS)


def test_a_camera_that_answers_is_stopped_without_a_kill(start: Callable[..., Daemon], soak: bool) -> None:
    daemon = start(source__capture="on-demand", source__idle_seconds=0.5)
    for _ in range(20 if soak else 3):
        assert daemon.get("/snapshot")[0] == 200
        with closing(daemon.watch()) as viewer:
            wait_for_pictures(viewer)
        until("the camera is closed", lambda: camera_pids(daemon) == [], START_SECONDS)
    assert "is killed" not in daemon.log()


def test_two_daemons_serve_two_cameras(start: Callable[..., Daemon]) -> None:
    daemons = [start(csi__camera=0), start(csi__camera=1)]
    for daemon, name in zip(daemons, ("imx708", "imx219"), strict=True):
        wait_for_camera(daemon)
        assert daemon.state()["camera"]["name"] == name
        with closing(daemon.watch()) as viewer:
            wait_for_pictures(viewer)


@pytest.mark.parametrize("deed", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_viewers_stay_connected_when_the_camera_process_dies_or_hangs(
    start: Callable[..., Daemon], deed: signal.Signals
) -> None:
    daemon = start(source__stall_timeout_seconds=1)
    old = wait_for_camera(daemon)
    with closing(daemon.watch()) as viewer:
        wait_for_pictures(viewer)
        os.kill(old, deed)
        until("another camera process", lambda: camera_pids(daemon) not in ([], [old]), START_SECONDS)
        wait_for_pictures(viewer)
    assert wait_for_camera(daemon) != old
    assert daemon.state()["camera_process"]["starts"] == 2


def test_a_still_comes_in_full_size_and_the_viewers_stay(start: Callable[..., Daemon]) -> None:
    daemon = start()
    pid = wait_for_camera(daemon)
    with closing(daemon.watch()) as viewer:
        wait_for_pictures(viewer)
        status, _, jpeg = daemon.get("/still.jpg")
        assert status == 200
        assert Image.open(io.BytesIO(jpeg)).size == (3280, 2464)
        wait_for_pictures(viewer)
    assert camera_pids(daemon) == [pid]


@pytest.mark.parametrize("watched", [True, False])
def test_a_stalled_encoder_gets_another_camera_process(
    start: Callable[..., Daemon], encoder: EncoderNode, watched: bool
) -> None:
    # while nobody watches, the process reports once a second that its camera lives
    daemon = start(source__stall_timeout_seconds=1 if watched else 3, video__framerate=60)
    old = wait_for_camera(daemon)
    with contextlib.ExitStack() as stack:
        if watched:
            wait_for_pictures(stack.enter_context(closing(daemon.watch())))
        else:  # beyond the first pictures, which are always encoded
            until("frames are skipped", lambda: daemon.state()["frames"]["captured"] > 200, START_SECONDS)
        encoder.set(stall=0)
        until("the old process is gone", lambda: old not in camera_pids(daemon), START_SECONDS)
        encoder.set()
        assert wait_for_camera(daemon) != old
    with closing(daemon.watch()) as viewer:
        wait_for_pictures(viewer)


def test_nobody_watches_and_the_rate_is_still_known(start: Callable[..., Daemon]) -> None:
    daemon = start(video__framerate=40)
    wait_for_camera(daemon)
    until("frames are skipped", lambda: daemon.state()["frames"]["captured"] > 200, START_SECONDS)
    until("the rate of the camera", lambda: daemon.state()["frames"]["rate"] == pytest.approx(40, rel=0.15))
    state = daemon.state()
    assert (state["state"], state["camera_process"]["starts"]) == ("streaming", 1)


def test_a_camera_whose_driver_is_slow_is_closed_and_not_killed(
    start: Callable[..., Daemon], encoder: EncoderNode
) -> None:
    encoder.set(stop_ms=800)  # twice for each stop
    daemon = start(source__capture="on-demand", source__idle_seconds=1)
    daemon.wait_for_state("idle", START_SECONDS)
    for _ in range(3):
        assert daemon.get("/snapshot")[0] == 200
        until("the camera is closed", lambda: camera_pids(daemon) == [], START_SECONDS)
        assert len(encoder.log("close")) == len(encoder.log("open"))
