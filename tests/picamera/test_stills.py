"""Pictures of full size: the camera changes its mode for one, and back."""

from __future__ import annotations

import gc
import operator
import time
from datetime import datetime
from pathlib import Path

import pytest
from pi_memory import memory
from virtual_pi import AUTO_EXPOSURE_US, AUTO_GAIN, PiCamera

from pi_cam_daemon.camera import csi
from tests.picamera.pi import IMX708, picture, running, source

# tags of Exif
MODEL, ORIENTATION, EXIF = 0x0110, 0x0112, 0x8769
EXPOSURE, ISO, DATE, OFFSET = 0x829A, 0x8827, 0x9003, 0x9011
FULL = (3280, 2464)


@pytest.mark.parametrize(("rotation", "size"), [(0, (3280, 2464)), (90, (2464, 3280))])
def test_a_still_has_the_sensors_full_size_and_the_stream_goes_on_as_before(
    imx219: PiCamera, rotation: int, size: tuple[int, int]
) -> None:
    with running(source(rotation=rotation)) as recorder:
        recorder.wait_for(5)
        for number in (1, 2):
            before = time.monotonic_ns()
            still = recorder.take_still()
            assert (still.number, still.refused) == (number, "")
            assert before < still.captured_ns < time.monotonic_ns()
            taken = picture(still.jpeg)
            assert taken.size == size
            assert taken.getexif()[ORIENTATION] == 1
            recorder.wait_for_more()
            assert picture(recorder.frames[-1][0]).size == (recorder.info.width, recorder.info.height)
    times = [captured for _, captured, _ in recorder.frames]
    assert times == sorted(set(times)), "no frame from before comes after the still"
    stream, full, again = imx219.configurations[:3]
    assert (full.mode.size, full.at(0).buffer_count) == ((3280, 2464), 1)
    assert imx219.starts[1]["FrameDurationLimits"] == (47_183, 47_183), "as fast as this mode can"
    assert (again.mode, again.size) == (stream.mode, stream.size)


def test_a_still_says_when_how_and_by_which_camera_it_was_taken() -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        still = recorder.take_still()
    exif = picture(still.jpeg).getexif()
    assert exif[MODEL] == "imx219"
    details = exif.get_ifd(EXIF)
    moment = datetime.strptime(details[DATE] + details[OFFSET].replace(":", ""), "%Y:%m:%d %H:%M:%S%z")
    assert abs(moment.timestamp() - time.time()) < 10
    assert (float(details[EXPOSURE]), details[ISO]) == (AUTO_EXPOSURE_US / 1e6, 100 * AUTO_GAIN)


def test_set_values_hold_for_a_still_but_a_trigger_is_not_repeated(imx708: PiCamera) -> None:
    with running(source(IMX708)) as recorder:
        recorder.wait_for(1)
        assert recorder.set(brightness=0.5, autofocus_mode="auto", autofocus_trigger=True).refused == {}
        recorder.take_still()
        recorder.wait_for_more()
    for controls in imx708.starts[1:]:
        assert (controls["Brightness"], controls["AfMode"]) == (0.5, 1)
        assert "AfTrigger" not in controls


def test_a_still_shows_only_the_zoomed_region(imx708: PiCamera) -> None:
    with running(source(IMX708)) as recorder:
        recorder.wait_for(1)
        recorder.set(roi=[0.25, 0.5, 0.25, 0.5])
        still = recorder.take_still()
    assert imx708.starts[1]["ScalerCrop"].to_tuple() == (1152, 1296, 1152, 1296)
    assert picture(still.jpeg).size == (1152, 1296), "its pixels as they are, not enlarged"


def test_without_memory_for_a_still_the_stream_goes_on_and_a_hint_is_given() -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        memory.budget = memory.most  # the stream's, whose pictures are small
        still = recorder.take_still()
        assert still.jpeg == b""
        assert "No memory for the camera's buffers" in still.refused
        recorder.wait_for_more()


def test_shutter_and_gain_given_back_are_automatic_in_a_still_and_after_it(imx219: PiCamera) -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        recorder.set(shutter=10_000, gain=4.0)
        recorder.wait_for_more()
        recorder.set(shutter=0, gain=None)
        recorder.wait_for_more()
        still = recorder.take_still()
        recorder.wait_for_more()
    details = picture(still.jpeg).getexif().get_ifd(EXIF)
    assert (float(details[EXPOSURE]), details[ISO]) == (AUTO_EXPOSURE_US / 1e6, 100 * AUTO_GAIN)
    for controls in imx219.starts[1:]:
        assert controls.get("ExposureTimeMode", 0) == controls.get("AnalogueGainMode", 0) == 0
    metadata = imx219.metadata()
    assert (metadata["ExposureTime"], metadata["AnalogueGain"]) == (AUTO_EXPOSURE_US, AUTO_GAIN)


def test_shutter_and_gain_set_by_hand_hold_in_a_still_and_after_it(imx219: PiCamera) -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        recorder.set(shutter=10_000, gain=4.0)
        still = recorder.take_still()
        recorder.wait_for_more()
        assert imx219.metadata()["ExposureTime"] == 10_000
    details = picture(still.jpeg).getexif().get_ifd(EXIF)
    assert (float(details[EXPOSURE]), details[ISO]) == (0.01, 400)


def test_a_zoom_given_back_leaves_the_still_whole(imx708: PiCamera) -> None:
    with running(source(IMX708)) as recorder:
        recorder.wait_for(1)
        recorder.set(roi=[0.25, 0.25, 0.5, 0.5])
        recorder.set(roi=None)
        recorder.wait_for_more()
        assert imx708.crop() == (576, 0, 3456, 2592), "the stream is whole again, in its aspect ratio"
        still = recorder.take_still()
    assert picture(still.jpeg).size == (4608, 2592)


def test_a_camera_that_does_not_start_for_a_still_streams_on(imx219: PiCamera) -> None:
    imx219.start_error = lambda configuration: "Cannot allocate memory" if configuration.size == FULL else ""
    with running(source()) as recorder:
        recorder.wait_for(1)
        still = recorder.take_still()
        assert still.jpeg == b""
        assert "No memory for the camera's buffers" in still.refused
        recorder.wait_for_more()
        imx219.start_error = lambda _: ""
        assert recorder.take_still().refused == ""


def test_a_still_takes_one_raw_buffer_and_none_of_libcameras_own(imx219: PiCamera) -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        memory.budget = 24 << 20  # one picture of YUV420 and one raw one, packed to ten bits
        for _ in range(2):
            assert recorder.take_still().refused == ""
            recorder.wait_for_more()
    full = imx219.configurations[1]
    assert [(stream.size.width, stream.buffer_count) for stream in full] == [(3280, 1), (3280, 1)]
    assert full.mode.size == FULL


def test_a_still_whose_frame_never_comes_is_refused_and_the_stream_goes_on(
    imx219: PiCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csi, "_STILL_SECONDS", 0.5)
    imx219.silent = lambda configuration: configuration.size == FULL
    with running(source()) as recorder:
        recorder.wait_for(1)
        still = recorder.take_still()
        assert still.jpeg == b""
        assert still.refused == "The camera gave no picture of full size within 1 s"
        recorder.wait_for_more()
        imx219.silent = lambda _: False
        assert recorder.take_still().refused == ""


def test_a_still_of_slow_frames_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csi, "_STILL_SECONDS", 0.5)
    with running(source(framerate=1.0)) as recorder:
        recorder.wait_for(1)
        assert recorder.take_still().refused == ""


@pytest.mark.parametrize(("denoise", "stream", "full"), [(None, 1, 2), ("off", 0, 0), ("cdn_off", 3, 3)])
def test_a_still_has_the_best_noise_reduction_unless_another_is_set(
    imx219: PiCamera, denoise: str | None, stream: int, full: int
) -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        if denoise:
            recorder.set(denoise=denoise)
        recorder.take_still()
        recorder.wait_for_more()
    assert [controls["NoiseReductionMode"] for controls in imx219.starts[1:]] == [full, stream]


def test_many_stills_leave_nothing_behind(soak: bool) -> None:
    def held() -> list[int]:
        gc.collect()
        return [len(list(Path(folder).iterdir())) for folder in ("/proc/self/fd", "/proc/self/task")]

    with running(source(width=320, height=240)) as recorder:
        recorder.wait_for(1)
        memory.budget = 64 << 20  # a quarter of a Zero 2 W's
        recorder.take_still()
        recorder.wait_for_more()
        before, taken = held(), dict(memory.held)
        for _ in range(100 if soak else 15):
            assert recorder.take_still().refused == ""
        recorder.wait_for_more()
        assert list(memory.held.values()) == list(taken.values())
        recorder.until("all is given back", lambda: all(map(operator.le, held(), before)))
