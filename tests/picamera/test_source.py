"""CsiSource on the real picamera2: which camera, what it is asked for, and what it delivers."""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import io
import itertools
import os
import statistics
import time
from pathlib import Path
from typing import Any

import libcamera
import numpy as np
import pytest
from pi_memory import MemfdAllocator
from picamera2 import Picamera2
from PIL import Image, ImageOps
from virtual_pi import PiCamera

from pi_cam_daemon.camera import csi
from pi_cam_daemon.camera.choose import choose
from pi_cam_daemon.camera.source import Commands, Stop
from pi_cam_daemon.config import loading
from pi_cam_daemon.errors import Cause
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.picamera.pi import IMX219, IMX708, EncoderNode, Recorder, failure, grey, picture, running, source

EVERY_ORIENTATION = list(itertools.product((0, 90, 180, 270), (False, True), (False, True)))


def rate(recorder: Recorder, frames: int = 40) -> float:
    """Return frames a second by most of the camera's timestamps, without the first frames after a start."""
    recorder.wait_for(frames + 5)
    times = [captured for _, captured, _ in recorder.frames[5 : frames + 5]]
    return 1e9 / statistics.median(later - earlier for earlier, later in itertools.pairwise(times))


def quarters(jpeg: bytes) -> list[list[int]]:
    """Return how bright each quarter of the picture is: 2 bright, 1 half as bright, 0 dark."""
    pixels = grey(jpeg)
    height, width = pixels.shape
    halves = (slice(0, height // 2), slice(height // 2, None)), (slice(0, width // 2), slice(width // 2, None))
    return [[int(np.digitize(np.median(pixels[y, x]), (90, 180))) for x in halves[1]] for y in halves[0]]


# -- which camera


def test_lists_the_cameras_with_index_name_and_id() -> None:
    assert csi.cameras() == [csi.Camera(0, "imx708", IMX708), csi.Camera(1, "imx219", IMX219)]


def test_webcams_are_not_listed_as_csi_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    webcam = {"Model": "C920", "Id": "/base/scb/pcie@0/usb@0,0-1.2:1.0-046d:082d", "Num": 2}
    found = [*Picamera2.global_camera_info(), webcam]
    monkeypatch.setattr(Picamera2, "global_camera_info", lambda: found)
    assert [(camera.index, camera.name) for camera in csi.cameras()] == [(0, "imx708"), (1, "imx219")]


def test_without_a_choice_it_is_the_first_camera_and_the_others_are_told() -> None:
    with running(source("")) as recorder:
        recorder.wait_for(1)
        assert recorder.info.name == "imx708"
    assert recorder.info.reason == (
        f"It is the first of 2 CSI cameras; choose with csi.camera: 0 is imx708, {IMX708}; 1 is imx219, {IMX219}"
    )
    with running(source("1")) as recorder:
        recorder.wait_for(1)
    assert recorder.info.reason == ""


def test_an_unknown_camera_is_missing_and_the_hint_names_those_that_are_there() -> None:
    error = failure(source("/base/soc/imx708@1a"))
    assert error.cause is Cause.MISSING
    assert IMX708 in error.hint


def test_a_camera_in_use_is_busy_and_free_again_afterwards() -> None:
    with running(source("1")) as recorder:
        recorder.wait_for(1)
        assert failure(source("1")).cause is Cause.BUSY
        recorder.wait_for_more(10)
    with running(source("1")) as recorder:
        recorder.wait_for(1)


def test_two_cameras_run_at_once() -> None:
    with running(source("0")) as first, running(source("1")) as second:
        assert rate(first) == pytest.approx(25, rel=0.2)
        assert rate(second) == pytest.approx(25, rel=0.2)
        assert (first.info.name, second.info.name) == ("imx708", "imx219")


def test_the_tuning_file_is_set_before_libcamera_looks_for_cameras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIBCAMERA_RPI_TUNING_FILE", "")
    seen = []
    reset = type(Picamera2._cm).reset
    monkeypatch.setattr(
        type(Picamera2._cm),
        "reset",
        lambda manager: (seen.append(os.environ.get("LIBCAMERA_RPI_TUNING_FILE")), reset(manager)),
    )
    tuning = tmp_path / "mine.json"
    tuning.write_text("{}")
    with running(source(tuning_file=str(tuning))) as recorder:
        recorder.wait_for(1)
    assert seen == [str(tuning)]


# -- what it delivers


@pytest.mark.parametrize("framerate", [10.0, 30.0, 60.0])
def test_delivers_at_the_frame_rate_that_is_configured(framerate: float) -> None:
    with running(source(framerate=framerate)) as recorder:
        assert rate(recorder) == pytest.approx(framerate, rel=0.2)
        assert recorder.info.framerate == framerate


def test_delivers_whole_jpegs_of_the_announced_size_each_another_picture() -> None:
    with running(source()) as recorder:
        recorder.wait_for(10)
        for jpeg, _, _ in recorder.frames[:10]:
            assert jpeg.startswith(b"\xff\xd8")
            assert jpeg.endswith(b"\xff\xd9")
            assert picture(jpeg).size == (recorder.info.width, recorder.info.height) == (640, 480)
        assert len({jpeg for jpeg, _, _ in recorder.frames[:10]}) == 10


@pytest.mark.parametrize("rotation", [0, 90])
def test_frames_have_the_time_of_their_capture_on_the_monotonic_clock(rotation: int) -> None:
    with running(source(rotation=rotation)) as recorder:
        recorder.wait_for(30)
        times = [captured for _, captured, _ in recorder.frames]
        assert times == sorted(set(times))
        for _, captured, arrived in recorder.frames:
            assert 0 <= arrived - captured < 1e9


def test_stops_within_a_second() -> None:
    recorder = Recorder(source())
    recorder.start()
    recorder.wait_for(5)
    assert recorder.stop() < patience(1)
    assert recorder.error is None


def test_a_silent_camera_stops_within_a_second(imx219: PiCamera) -> None:
    imx219.silent = lambda _: True
    recorder = Recorder(source())
    recorder.start()
    until("the camera is open", lambda: recorder.events)
    assert recorder.stop() < patience(1)
    assert recorder.error is None


def test_runs_twenty_times_without_leaking_descriptors_or_threads() -> None:
    camera = source(framerate=40.0)

    def held() -> tuple[int, int]:
        gc.collect()  # picamera2 closes some of it only when its cycles are collected
        fds, threads = Path("/proc/self/fd"), Path("/proc/self/task")
        return sum(1 for _ in fds.iterdir()), sum(1 for _ in threads.iterdir())

    def run() -> None:
        with running(camera) as recorder:
            recorder.wait_for(1)

    run()  # the first loads libraries
    before = held()
    for _ in range(20):
        run()
    # threads end a moment after they were joined
    until("all is given back", lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


def test_an_error_of_the_sink_passes_through_unchanged() -> None:
    class Broken(Recorder):
        def frame(self, jpeg: bytes, captured_ns: int) -> None:
            super().frame(jpeg, captured_ns)
            raise LookupError("a bug")

    recorder = Broken(source())
    recorder.start()
    assert isinstance(recorder.ended(), LookupError)


# -- sizes, rates and modes


@pytest.mark.parametrize(
    ("camera", "size", "framerate", "mode"),
    [
        (IMX219, (640, 480), 25.0, (1640, 1232)),
        (IMX219, (1640, 1232), 25.0, (1640, 1232)),
        (IMX219, (640, 480), 60.0, (640, 480)),
        (IMX219, (1920, 1080), 25.0, (1920, 1080)),
        (IMX708, (1280, 720), 30.0, (2304, 1296)),
        (IMX708, (640, 360), 100.0, (1536, 864)),
    ],
)
def test_the_sensors_full_view_is_used_unless_too_slow_or_too_small(
    camera: str, size: tuple[int, int], framerate: float, mode: tuple[int, int], imx219: PiCamera, imx708: PiCamera
) -> None:
    with running(source(camera, width=size[0], height=size[1], framerate=framerate)) as recorder:
        recorder.wait_for(1)
        assert (imx219 if camera == IMX219 else imx708).running.mode.size == mode
        assert (recorder.info.width, recorder.info.height, recorder.info.framerate) == (*size, framerate)


def test_a_different_size_is_announced_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with running(source(width=32, height=48)) as recorder:
        recorder.wait_for(1)
        assert (recorder.info.width, recorder.info.height) == (64, 64)
        assert picture(recorder.frames[0][0]).size == (64, 64)
    assert "imx219 gives 64x64, not 32x48" in caplog.text


@pytest.mark.parametrize(("wanted", "given"), [(0.01, 1e6 / 11_767_556), (60.0, 60.0), (240.0, 1e6 / 9_677)])
def test_the_frame_rate_is_kept_within_the_cameras_limits_and_announced(
    imx219: PiCamera, caplog: pytest.LogCaptureFixture, wanted: float, given: float
) -> None:
    commands = Commands()
    commands.put(Stop())  # nobody wants to wait for a frame at 0.01 a second
    camera = source(framerate=wanted)
    recorder = Recorder(camera)
    camera.run(recorder, commands)
    assert recorder.info.framerate == given
    assert (f"{given:.2f} frames a second, not {wanted:g}" in caplog.text) is (given != wanted)
    assert imx219.starts[-1]["FrameDurationLimits"] == (round(1e6 / given),) * 2


def test_the_stream_has_the_colours_of_a_jpeg_the_buffers_configured_and_nothing_raw(imx219: PiCamera) -> None:
    with running(source(buffer_count=3)) as recorder:
        recorder.wait_for(5)
    (configuration,) = imx219.configurations
    assert [(str(stream.pixel_format), stream.buffer_count) for stream in configuration] == [("YUV420", 3)] * 2
    assert configuration.at(0).color_space == libcamera.ColorSpace.Sycc()


# -- orientation


@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
def test_every_orientation_is_upright_whether_or_not_the_sensor_flips(
    imx708: PiCamera, rotation: int, hflip: bool, vflip: bool
) -> None:
    imx708.flips = False
    settings = {"width": 332, "height": 126, "rotation": rotation, "hflip": hflip, "vflip": vflip}
    with running(source(IMX219, **settings)) as flips, running(source(IMX708, **settings)) as fixed:
        flips.wait_for(3)
        fixed.wait_for(3)
        small = [recorder.ask_small(2)[-1][0] for recorder in (flips, fixed)]
    seen = np.array([[2, 1], [0, 0]])[:: -1 if vflip else 1, :: -1 if hflip else 1]
    upright = np.rot90(seen, -rotation // 90)
    size = (126, 332) if rotation in (90, 270) else (332, 126)
    for recorder in (flips, fixed):
        assert (recorder.info.width, recorder.info.height) == size
        for jpeg, _, _ in recorder.frames:
            assert picture(jpeg).size == size
            assert quarters(jpeg) == upright.tolist()
    for jpeg in small:
        assert picture(jpeg).size == ((62, 166) if rotation in (90, 270) else (166, 62))
        assert quarters(jpeg) == upright.tolist()


@pytest.mark.parametrize(
    ("rotation", "hflip", "vflip", "orientation"),
    [
        (0, False, False, libcamera.Orientation.Rotate0),
        (0, True, False, libcamera.Orientation.Rotate0Mirror),
        (0, False, True, libcamera.Orientation.Rotate180Mirror),
        (180, False, False, libcamera.Orientation.Rotate180),
        (180, True, True, libcamera.Orientation.Rotate0),
        # what is left of a quarter turn is to transpose, which is lossless for a JPEG of any size
        (90, False, False, libcamera.Orientation.Rotate180Mirror),
        (90, True, False, libcamera.Orientation.Rotate180),
        (270, False, False, libcamera.Orientation.Rotate0Mirror),
    ],
)
def test_turns_and_flips_are_left_to_the_sensor(
    imx219: PiCamera, rotation: int, hflip: bool, vflip: bool, orientation: Any
) -> None:
    with running(source(rotation=rotation, hflip=hflip, vflip=vflip)) as recorder:
        recorder.wait_for(1)
        assert imx219.running.orientation == orientation


def test_a_quarter_turn_by_exif_announces_the_size_that_is_stored() -> None:
    with running(source(rotation=90, rotation_method="exif")) as recorder:
        recorder.wait_for(1)
    assert (recorder.info.width, recorder.info.height) == (640, 480)
    upright = io.BytesIO()
    ImageOps.exif_transpose(Image.open(io.BytesIO(recorder.frames[0][0]))).save(upright, "JPEG", quality=95)
    assert picture(upright.getvalue()).size == (480, 640)
    assert quarters(upright.getvalue()) == [[0, 2], [0, 1]]


def test_turned_pictures_keep_the_rate() -> None:
    with running(source(rotation=90)) as recorder:
        assert rate(recorder) == pytest.approx(25, rel=0.2)


def test_unwanted_pictures_are_not_turned() -> None:
    with running(source(rotation=90)) as recorder:
        recorder.wait_for(2)
        recorder.wanted = False
        recorder.until("pictures are passed over", lambda: recorder.passed_over >= 3)
        recorder.wanted = True
        recorder.wait_for_more(2)


def test_during_a_turn_only_the_newest_picture_waits() -> None:
    class Slow(Recorder):
        def frame(self, jpeg: bytes, captured_ns: int) -> None:
            super().frame(jpeg, captured_ns)
            time.sleep(0.2)  # of five frames

    recorder = Slow(source(rotation=90))
    recorder.start()
    recorder.wait_for(5)
    recorder.stop()
    times = [captured for _, captured, _ in recorder.frames]
    assert all(later - earlier > 3 * 40_000_000 for earlier, later in itertools.pairwise(times[1:]))


def test_a_picture_that_cannot_be_turned_is_left_out(encoder: EncoderNode) -> None:
    encoder.set(damaged=2)
    with running(source(rotation=90)) as recorder:
        recorder.wait_for(5)
        assert recorder.bad
    for jpeg, _, _ in recorder.frames:
        assert picture(jpeg).size == (480, 640)


# -- overlay


@pytest.mark.parametrize("rotation", [0, 90])
def test_the_overlay_is_drawn_before_encoding_in_the_final_top_left_corner(encoder: EncoderNode, rotation: int) -> None:
    encoder.set(quality=60)  # it begins with a low one

    def corners(overlay: str) -> list[Any]:
        with running(source(rotation=rotation, overlay=overlay)) as recorder:
            recorder.wait_for(5)
            still = recorder.take_still()
            small = recorder.ask_small(5)
        big = [grey(jpeg)[:40, :120] for jpeg in (recorder.frames[4][0], still.jpeg)]
        return big + [grey(jpeg)[:14, :60] for jpeg, _ in small[:5]]

    for plain, drawn in zip(corners(""), corners("MMMMMMMMMMMMMMMM"), strict=True):
        assert np.median(drawn[:2]) < 40, "the box is dark above the letters"
        assert drawn.max() > 150, "and the letters are light"
        assert abs(np.median(plain[:2]) - np.median(drawn[:2])) > 40


# -- picamera2 itself


def test_an_old_picamera2_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"picamera2": "0.3.12"}[name])
    error = failure(source())
    assert error.message == "picamera2 0.3.12 is too old: 0.3.26 or later is needed"


def test_a_picamera2_of_unknown_version_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", unknown)
    with running(source()) as recorder:
        recorder.wait_for(1)


def test_auto_looks_for_cameras_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look makes another manager of libcamera's, which opens all devices again."""
    looks = []
    look = Picamera2._cm.reset
    monkeypatch.setattr(Picamera2._cm, "reset", lambda: looks.append(look()))
    choice = choose(dataclasses.replace(loading.load(loading.DEFAULTS).camera, kind="auto"))
    assert isinstance(choice.source, csi.CsiSource)
    choice.source._allocator = MemfdAllocator()
    with running(choice.source) as recorder:
        recorder.wait_for(2)
        assert recorder.info.kind == "csi"
    assert len(looks) == 1
