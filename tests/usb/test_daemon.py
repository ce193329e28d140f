"""The whole daemon on a V4L2 camera that is unplugged, frozen or broken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.kit.daemon import RUN, Daemon, running
from tests.kit.lateness import patience
from tests.kit.network import hosts
from tests.kit.proc import fields
from tests.kit.wait import until
from tests.kit.wire import Part
from tests.server.test_ports import only_its_port_is_open
from tests.usb.machine import Machine, draw_frames, without_huffman_tables

SETTINGS = {"source.kind": "usb", "video.width": 320, "video.height": 240, "source.stall_timeout_seconds": 2.0}

Start = Callable[..., AbstractContextManager[Daemon]]


@pytest.fixture
def start(tmp_path: Path, machine: Machine) -> Start:
    """Start the daemon on this machine: start(device, **settings)."""

    def start(device: Path, settings: dict[str, object] | None = None) -> AbstractContextManager[Daemon]:
        every = {**SETTINGS, "usb.device": str(device), **(settings or {})}
        return running(tmp_path / "daemon", every, env=machine.env, argv=RUN)

    return start


def delivered(frames: Path) -> set[bytes]:
    return {path.read_bytes() for path in frames.glob("*.jpg")}


def is_from(pictures: set[bytes], part: Part) -> bool:
    """Return whether the picture is live and comes from this camera."""
    return part.jpeg in pictures and abs(time.time() - part.timestamp) < 1


def decoded(jpeg: bytes) -> npt.NDArray[np.int64]:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.astype(np.int64)


def test_the_bytes_served_are_the_bytes_that_the_camera_delivered(machine: Machine, start: Start) -> None:
    with start(machine.plug()) as daemon:
        daemon.wait_for_state("streaming")
        with closing(daemon.watch()) as viewer:
            served = {part.jpeg for part in viewer.parts(20)}
        assert len(served) > 5
        assert served <= delivered(machine.frames)
        assert daemon.get("/snapshot")[2] in delivered(machine.frames)


def test_the_cameras_real_size_and_rate_are_reported(machine: Machine, start: Start) -> None:
    camera = machine.plug(serial="046d_Fake_1234", fps="15")
    with start(camera, {"video.width": 640, "video.height": 480}) as daemon:
        info = daemon.wait_for_state("streaming")["camera"]
        assert (info["width"], info["height"], info["framerate"], info["pixel_format"]) == (320, 240, 15, "MJPG")
        assert str(camera) in info["name"]
        assert f"{camera} gives 320x240, not 640x480" in daemon.log()
        assert f"{camera} gives 15 frames a second, not 25" in daemon.log()


def test_a_camera_in_the_dark_is_live_at_the_rate_that_it_has(machine: Machine, start: Start) -> None:
    pictures = delivered(machine.frames)
    with start(machine.plug(every="2200")) as daemon:
        daemon.wait_for_state("streaming")
        with closing(daemon.watch()) as viewer:
            parts: list[Part] = []
            told = "Streaming 320x240 at 0.45 frames/s"
            until("the rate", lambda: parts.append(viewer.part()) or daemon.state()["detail"].startswith(told), 20)
            assert {part.jpeg for part in parts} <= pictures
        table = daemon.state()
        assert (table["state"], table["camera"]["framerate"], table["camera_process"]["starts"]) == ("streaming", 25, 1)
        assert "state: stalled" not in daemon.log()


def test_unplugging_is_reported_and_pictures_return_on_the_same_connection(machine: Machine, start: Start) -> None:
    pictures = delivered(machine.frames)
    camera = machine.plug()
    with start(camera) as daemon, closing(daemon.watch()) as viewer:
        viewer.next_where("a picture", partial(is_from, pictures))
        machine.unplug()
        unplugged = time.monotonic()
        until("the log says it", lambda: f"The camera was unplugged ({camera})" in daemon.log(), 1.0)
        missing = f"There is no camera at {camera}"
        until("the second attempt says it", lambda: daemon.state().get("detail") == missing)
        card = viewer.next_where("a card", lambda part: part.jpeg not in pictures)
        assert card.arrived - unplugged < patience(4)
        machine.plug()
        viewer.next_where("a picture again", partial(is_from, pictures), 20)
        daemon.wait_for_state("streaming")


def test_a_camera_that_comes_back_as_another_node_is_found_by_its_serial_number(machine: Machine, start: Start) -> None:
    pictures = delivered(machine.frames)
    camera = machine.plug("video0", serial="046d_Fake_1234")
    with start(camera) as daemon, closing(daemon.watch()) as viewer:
        viewer.next_where("a picture", partial(is_from, pictures))
        machine.unplug("video0")
        daemon.wait_for_state("no-camera")
        assert machine.plug("video3", serial="046d_Fake_1234") == camera
        viewer.next_where("a picture again", partial(is_from, pictures), 20)


def test_a_frozen_camera_is_restarted_and_gives_pictures_when_it_thaws(machine: Machine, start: Start) -> None:
    pictures = delivered(machine.frames)
    with start(machine.plug()) as daemon, closing(daemon.watch()) as viewer:
        viewer.next_where("a picture", partial(is_from, pictures))
        daemon.wait_for_rate()
        pid = daemon.camera_pid()
        machine.change(state="freeze")
        viewer.next_where("a card", lambda part: part.jpeg not in pictures)
        until("another camera process", lambda: daemon.state()["camera_process"]["pid"] not in (pid, None), 10)
        assert "has given no picture for" in daemon.log()
        machine.change(state="run")
        viewer.next_where("a picture again", partial(is_from, pictures), 20)
        assert daemon.process.poll() is None


def test_an_input_output_error_is_reported_at_once_and_survived(machine: Machine, start: Start) -> None:
    pictures = delivered(machine.frames)
    with start(machine.plug()) as daemon, closing(daemon.watch()) as viewer:
        viewer.next_where("a picture", partial(is_from, pictures))
        machine.change(state="eio")
        until("the log says it", lambda: "The camera failed: Input/output error" in daemon.log(), 1.5)
        table = daemon.wait_for_state("no-camera")
        assert table["cause"] == "lost"
        machine.change(state="run")
        viewer.next_where("a picture again", partial(is_from, pictures), 20)


@pytest.mark.parametrize("state", ["corrupt", "error"])
def test_bad_pictures_never_reach_the_viewers(machine: Machine, start: Start, state: str) -> None:
    pictures = delivered(machine.frames)
    with start(machine.plug(state=state)) as daemon:
        daemon.wait_for_state("streaming")
        with closing(daemon.watch()) as viewer:
            assert {part.jpeg for part in viewer.parts(20)} <= pictures
        assert daemon.log().count("bad pictures so far") == 1
        assert daemon.state()["camera_process"]["starts"] == 1


def test_a_missing_end_marker_is_added(machine: Machine, start: Start) -> None:
    with start(machine.plug(state="endless")) as daemon:
        daemon.wait_for_state("streaming")
        with closing(daemon.watch()) as viewer:
            begun = time.monotonic()
            parts = viewer.parts(25)
        for part in parts:
            assert any(picture.startswith(part.jpeg[:-2]) for picture in delivered(machine.frames))
        assert parts[-1].arrived - begun < patience(3), "at its rate of 25 frames a second"


def test_missing_huffman_tables_are_added(machine: Machine, start: Start, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in machine.frames.glob("*.jpg"):
        (bare / path.name).write_bytes(without_huffman_tables(path.read_bytes()))
    with start(machine.plug(frames=str(bare))) as daemon:
        daemon.wait_for_state("streaming")
        with closing(daemon.watch()) as viewer:
            served = viewer.parts(5)
    pictures = [decoded(jpeg) for jpeg in delivered(machine.frames)]
    for part in served:
        assert b"\xff\xc4" in part.jpeg[: part.jpeg.index(b"\xff\xda")]
        assert any(np.array_equal(decoded(part.jpeg), picture) for picture in pictures)


@pytest.mark.parametrize("formats", ["YUYV", "MJPG,YUYV"])
def test_raw_pictures_are_encoded(machine: Machine, start: Start, formats: str) -> None:
    with start(machine.plug(formats=formats), {"usb.pixel_format": "YUYV"}) as daemon:
        info = daemon.wait_for_state("streaming")["camera"]
        assert (info["pixel_format"], info["encoder"]) == ("YUYV", "software JPEG (OpenCV)")
        pixels = decoded(daemon.get("/snapshot")[2])
    assert pixels.shape == (240, 320, 3)
    left, right, below = pixels[60, 20], pixels[60, 300], pixels[180, 300]
    assert left.max() + 60 < right.min(), "brighter to the right"
    assert np.ptp(right) < 12, "grey above"
    assert below[2] > below[0] + 60, "red below"


def test_jpegs_are_preferred_to_raw_pictures_in_any_order(machine: Machine, start: Start) -> None:
    with start(machine.plug(formats="YUYV,MJPG")) as daemon:
        assert daemon.wait_for_state("streaming")["camera"]["pixel_format"] == "MJPG"


@pytest.mark.parametrize(
    ("formats", "wanted", "detail"),
    [
        ("H264,HEVC", "auto", "has no pictures in a format that can be used"),
        ("MJPG,H264", "YUYV", "has no YUYV"),
    ],
)
def test_a_missing_format_is_reported_with_the_available_ones(
    machine: Machine, start: Start, formats: str, wanted: str, detail: str
) -> None:
    camera = machine.plug(formats=formats)
    with start(camera, {"usb.pixel_format": wanted}) as daemon:
        table = daemon.wait_for_state("no-camera")
    assert (table["cause"], table["detail"]) == ("settings", f"Fake Camera: Fake Camera ({camera}) {detail}")
    assert table["hint"].split(";")[0] == f"It has {formats.replace(',', ', ')}"


def test_a_camera_that_another_program_uses_is_taken_when_it_is_free(machine: Machine, start: Start) -> None:
    camera = machine.plug(state="busy")
    with start(camera) as daemon:
        table = daemon.wait_for_state("no-camera")
        assert (table["cause"], table["detail"]) == ("busy", f"Another program uses {camera}")
        machine.change(state="run")
        daemon.wait_for_state("streaming")


def test_auto_chooses_the_usb_camera_and_says_why(machine: Machine, start: Start) -> None:
    camera = machine.plug(serial="046d_Fake_1234")
    with start(camera, {"source.kind": "auto"}) as daemon:
        source = daemon.wait_for_state("streaming")["source"]
    assert source["kind"] == "usb"
    assert source["reason"].startswith(f"the USB camera Fake Camera: Fake Camera ({camera}): picamera2")


def test_auto_shows_the_test_picture_until_a_usb_camera_is_plugged_in(machine: Machine, start: Start) -> None:
    pictures = delivered(machine.frames)
    with start(machine.dev / "video0", {"source.kind": "auto"}) as daemon, closing(daemon.watch()) as viewer:
        table = daemon.wait_for_state("no-camera")
        assert table["source"] == {
            "configured": "auto", "kind": "pattern", "reason": "", "stand_in": True, "last": None
        }  # fmt: skip
        assert f"There is no camera at {machine.dev / 'video0'}" in table["detail"]
        machine.plug()
        viewer.next_where("a picture of the camera", partial(is_from, pictures), 20)
        source = daemon.wait_for_state("streaming")["source"]
        assert (source["kind"], source["stand_in"]) == ("usb", False)
        until("it is remembered", lambda: daemon.state()["source"]["last"] == "usb")


def test_a_usb_camera_that_is_lost_later_is_waited_for(machine: Machine, start: Start) -> None:
    with start(machine.plug(), {"source.kind": "auto"}) as daemon:
        daemon.wait_for_state("streaming")
        machine.unplug()
        table = daemon.wait_for_state("no-camera")
        assert not table["source"]["stand_in"]
        assert table["detail"].startswith(("The camera was unplugged", "There is no camera"))
        remembered = daemon.state_folder / "last-camera.json"
        assert json.loads(remembered.read_text())["kind"] == "usb"
        daemon.stop()
    # a new daemon misses it, too
    with start(machine.dev / "video0", {"source.kind": "auto"}) as daemon:
        table = daemon.wait_for_state("no-camera", 30)
        assert (table["cause"], table["source"]["stand_in"]) == ("lost", True)
        assert table["detail"].startswith("The camera Fake Camera: Fake Camera")
        assert "(usb) is gone: picamera2 " in table["detail"]


def test_a_camera_with_only_bad_pictures_counts_as_frozen_with_the_reason(machine: Machine, start: Start) -> None:
    with start(machine.plug()) as daemon:
        daemon.wait_for_state("streaming")
        machine.change(state="broken")
        told = "The camera has given no usable picture for "
        table = until("the restart", lambda: (now := daemon.state())["detail"].startswith(told) and now)
        assert table["state"] == "stalled"


def test_a_picture_turned_by_a_quarter_is_announced_in_its_final_size(machine: Machine, start: Start) -> None:
    with start(machine.plug(formats="YUYV"), {"video.rotation": 90}) as daemon:
        info = daemon.wait_for_state("streaming")["camera"]
        pixels = decoded(daemon.get("/snapshot")[2])
    assert (info["width"], info["height"]) == (240, 320)
    assert pixels.shape == (320, 240, 3)
    assert pixels[20, 200].max() + 60 < pixels[300, 200].min(), "what was brighter to the right is below"


def test_turning_pictures_takes_no_new_memory_for_each(machine: Machine, start: Start, tmp_path: Path) -> None:
    def page_faults() -> int:
        return int(fields(daemon.camera_pid())[7])

    camera = machine.plug(frames=str(draw_frames(tmp_path / "large", 1280, 720, 4)), size="1280x720")
    settings = {"video.width": 1280, "video.height": 720, "video.rotation": 90}
    with start(camera, settings) as daemon, closing(daemon.watch()) as viewer:
        viewer.parts(5)
        before = page_faults()
        viewer.parts(20)
        assert page_faults() - before < 20 * 100


def test_frames_of_another_size_than_announced_are_served_unchanged_and_told(
    machine: Machine, start: Start, tmp_path: Path
) -> None:
    other = draw_frames(tmp_path / "other", 640, 480)
    with start(machine.plug(frames=str(other), size="800x600")) as daemon:
        daemon.wait_for_state("streaming")
        assert daemon.get("/snapshot")[2] in delivered(other)
        table = daemon.state()
        assert (table["camera"]["width"], table["camera"]["height"]) == (640, 480)
        assert table["detail"].startswith("Streaming 640x480 ")


def spoilt(folder: Path, frames: Path, spoil: Callable[[int, bytes], bytes]) -> str:
    """Make a folder with the *frames* spoilt by *spoil*(number, jpeg)."""
    folder.mkdir()
    for number, path in enumerate(sorted(frames.glob("*.jpg"))):
        (folder / path.name).write_bytes(spoil(number, path.read_bytes()))
    return str(folder)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda number, jpeg: b"\xff\xd8" * (number % 4 == 0) + jpeg, id="two starts of each 4th"),
        pytest.param(lambda _, jpeg: b"junk" + jpeg, id="junk before the start"),
    ],
)
def test_pictures_are_cut_out_of_what_surrounds_them(
    machine: Machine, start: Start, tmp_path: Path, spoil: Callable[[int, bytes], bytes]
) -> None:
    with start(machine.plug(frames=spoilt(tmp_path / "spoilt", machine.frames, spoil))) as daemon:
        daemon.wait_for_state("streaming")
        with closing(daemon.watch()) as viewer:
            assert {part.jpeg for part in viewer.parts(14)} <= delivered(machine.frames)
        assert "bad pictures" not in daemon.log()


def test_only_the_configured_port_is_open(tmp_path: Path, machine: Machine) -> None:
    settings = {"source.kind": "usb", "usb.device": str(machine.plug())}
    with hosts(1) as (host,):
        only_its_port_is_open(tmp_path / "own", host, settings, machine.env)


def test_controls_are_set_in_the_camera_saved_and_set_again_after_a_replug(machine: Machine, start: Start) -> None:
    with start(machine.plug(), {"usb.controls.contrast": 20}) as daemon:
        daemon.wait_for_state("streaming")

        def value(name: str) -> object:
            return json.loads(daemon.get("/controls")[2])["controls"].get(name, {}).get("value")

        assert value("contrast") == 20
        status, _, body = daemon.post(
            "/controls", b'{"brightness": 33, "power_line_frequency": "60 Hz", "contrast": 27}'
        )
        assert status == 200
        applied = {"brightness": 33, "power_line_frequency": "60 Hz", "contrast": 25}
        assert json.loads(body)["applied"] == applied
        assert json.loads(daemon.post("/controls/save")[2]) == {"saved": applied}
        machine.unplug()
        daemon.wait_for_state("no-camera")
        assert daemon.post("/controls", b'{"brightness": 1}')[0] == 503
        machine.plug()
        daemon.wait_for_state("streaming")
        assert (value("brightness"), value("power_line_frequency"), value("contrast")) == (33, "60 Hz", 25)
        assert daemon.post("/controls/forget")[0] == 200
        assert (value("brightness"), value("power_line_frequency"), value("contrast")) == (0, "50 Hz", 20)


def test_a_camera_that_hangs_while_being_set_is_replaced(machine: Machine, start: Start) -> None:
    with start(machine.plug()) as daemon:
        daemon.wait_for_rate()
        machine.change(state="stuck")
        pid = daemon.camera_pid()
        begin = time.monotonic()
        assert daemon.post("/controls", b'{"brightness": 1}')[0] in (503, 504)
        assert time.monotonic() - begin < patience(5)
        machine.change(state="run")
        until("another camera process", lambda: daemon.state()["camera_process"]["pid"] not in (pid, None))
        daemon.wait_for_state("streaming")
