"""The small stream of a CSI camera: picamera2's second stream, made small when somebody asks."""

from __future__ import annotations

import threading
from typing import Any

import picamera2.platform
import pytest
from picamera2.platform import Platform
from virtual_pi import PiCamera

from pi_cam_daemon.camera import csi_small
from tests.kit.lateness import patience
from tests.picamera.pi import IMX708, SMALL, Recorder, picture, running, source


@pytest.fixture(autouse=True)
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Return the Pi that picamera2 takes this machine for; a Pi 4 where a test does not say."""
    wanted: Platform = getattr(request, "param", Platform.VC4)
    monkeypatch.setattr(picamera2.platform, "_platform", wanted)
    return wanted


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the sizes of the pictures that are copied to be made small, while they come."""
    sizes: list[tuple[int, int]] = []

    class Counted(csi_small.YUV):
        def __init__(self, array: Any, width: int, height: int) -> None:
            sizes.append((width, height))
            super().__init__(array, width, height)

    monkeypatch.setattr(csi_small, "YUV", Counted)
    return sizes


on_both = pytest.mark.parametrize("platform", [Platform.VC4, Platform.PISP], indirect=True, ids=["Pi 4", "Pi 5"])


# -- its size


@pytest.mark.parametrize(
    ("size", "rotation", "small"),
    [
        ((640, 480), 0, (320, 240)),
        ((640, 480), 90, (240, 320)),
        ((1280, 720), 0, (320, 180)),
        ((720, 1280), 0, (180, 320)),
        ((332, 126), 0, (166, 62)),  # half of it is too short for the ISP
        ((332, 130), 0, (166, 64)),
        ((160, 120), 270, (60, 80)),
        ((480, 360), 0, (240, 180)),  # half of the big one is less than 320
        ((1920, 1080), 180, (320, 180)),
    ],
)
def test_small_pictures_have_even_sides_and_the_shape_of_the_big_ones(
    size: tuple[int, int], rotation: int, small: tuple[int, int]
) -> None:
    with running(source(width=size[0], height=size[1], rotation=rotation)) as recorder:
        assert {picture(jpeg).size for jpeg, _ in recorder.ask_small(3)} == {small}
        assert recorder.bad == []


@on_both
def test_small_pictures_have_the_time_of_their_capture_and_come_at_their_rate() -> None:
    with running(source(framerate=50.0)) as recorder:
        times = [captured for _, captured in recorder.ask_small(15)]
        big = {captured // 1000 for _, captured, _ in recorder.frames}
    assert times == sorted(set(times))
    assert (times[-1] - times[0]) / (len(times) - 1) > 0.8e9 / SMALL.framerate, "not each of the camera's"
    assert len({captured // 1000 for captured in times} & big) > 10, "of the same moments as the big ones"


# -- only while somebody asks


@on_both
def test_nothing_small_is_copied_or_encoded_while_nobody_asks(copied: list[tuple[int, int]]) -> None:
    with running(source(overlay="text")) as recorder:
        recorder.wait_for(10)
        assert copied == []
        recorder.ask_small(8)
        recorder.asks_small = False
        recorder.wait_for_more(5)  # those on their way
        before, smalls = list(copied), len(recorder.smalls)
        assert set(before) == {(320, 240)}
        recorder.wait_for_more(10)
        assert (copied, len(recorder.smalls)) == (before, smalls)


def test_one_thread_makes_them_also_after_stills() -> None:
    def threads() -> int:
        return [thread.name for thread in threading.enumerate()].count("small")

    before = threads()  # of other tests: each ends with its process
    with running(source()) as recorder:
        recorder.ask_small(2)
        for _ in range(2):
            recorder.take_still()
            recorder.ask_small(2)
        assert threads() == before + 1


@on_both
def test_small_pictures_are_made_while_nobody_wants_big_ones() -> None:
    recorder = Recorder(source())
    recorder.wanted = False
    recorder.start()
    recorder.ask_small()
    assert recorder.stop() < patience(1.5)
    assert recorder.error is None


# -- regions and stills


@on_both
def test_a_region_holds_for_both_sizes_at_the_start_live_and_around_a_still(imx708: PiCamera) -> None:
    start, live, whole = (0, 0, 2304, 1296), (1152, 648, 2304, 1296), (576, 0, 3456, 2592)

    def shown() -> set[tuple[int, ...]]:
        return {tuple(imx708.crop(stream)) for stream in (0, 1)}

    with running(source(IMX708, settings={"roi": [0, 0, 0.5, 0.5]})) as recorder:
        recorder.wait_for(1)
        assert shown() == {start}
        assert recorder.set(roi=[0.25, 0.25, 0.5, 0.5]).refused == {}
        recorder.until("it is shown", lambda: shown() == {live})
        still = recorder.take_still()
        assert picture(still.jpeg).size == (2304, 1296)
        assert imx708.starts[1]["ScalerCrop"].to_tuple() == live
        recorder.wait_for_more()
        assert shown() == {live}
        recorder.set(roi=None)
        recorder.until("it is whole again", lambda: shown() == {whole})
        assert picture(recorder.take_still().jpeg).size == (4608, 2592)
        recorder.wait_for_more()
        assert shown() == {whole}


@on_both
def test_small_pictures_come_again_after_a_still() -> None:
    with running(source()) as recorder:
        recorder.ask_small(3)
        assert recorder.take_still().refused == ""
        assert {picture(jpeg).size for jpeg, _ in recorder.ask_small(3)} == {(320, 240)}
        recorder.wait_for_more()
    times = [captured for _, captured in recorder.smalls]
    assert times == sorted(set(times))
