"""CsiSource on the real picamera2 and libcamera's virtual camera, in the rig's root.

The virtual camera ignores flips and always gives NV12, so no test here checks either.
"""

from __future__ import annotations

import contextlib
import gc
import io
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("virtual_camera", reason="runs in the root that tests/picamera/rig/setup makes")

import libcamera
import numpy as np
from PIL import Image
from virtual_camera import MemfdAllocator, nv12_encoder

from pi_cam_daemon.camera import csi
from pi_cam_daemon.camera.source import Commands, Stop, TakeStill
from pi_cam_daemon.config.schema import CsiConfig, VideoConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.messages import CameraInfo, Report, SetControls, Still
from tests.harness import until

# tags of Exif
MODEL, ORIENTATION, EXIF = 0x0110, 0x0112, 0x8769
EXPOSURE, DATE, OFFSET = 0x829A, 0x9003, 0x9011


def source(camera: str = "VirtualBars", allocator: Any = None, **changes: Any) -> csi.CsiSource:
    values = {"width": 640, "height": 480, "framerate": 30.0, "rotation": 0, "hflip": False, "vflip": False}
    video = VideoConfig(**{**values, "rotation_method": "pixels", "quality": 80, "overlay": "", **changes})
    encoders = {"encoder": nv12_encoder, "still_encoder": nv12_encoder}
    return csi.CsiSource(video, CsiConfig(camera, "", 4), allocator=allocator or MemfdAllocator(), **encoders)


class Recorder:
    """A sink that keeps everything, with the thread that runs the source into it."""

    wanted = True

    def __init__(self, camera: csi.CsiSource) -> None:
        self.events: list[Any] = []
        self.reports: list[Report] = []
        self.stills: list[Still] = []
        self.error: BaseException | None = None
        self.commands = Commands()
        self._camera = camera
        self._thread = threading.Thread(target=self._run, name="source")

    def opened(self, info: CameraInfo) -> None:
        self.events.append(info)

    def controls(self, report: Report) -> None:
        self.reports.append(report)

    def still(self, still: Still) -> None:
        self.stills.append(still)

    def passed(self) -> None:
        raise AssertionError("it is wanted")

    def frame(self, jpeg: bytes, captured_ns: int) -> None:
        self.events.append((jpeg, captured_ns, time.monotonic_ns()))

    @property
    def info(self) -> CameraInfo:
        assert isinstance(self.events[0], CameraInfo), "a frame before the announcement"
        return self.events[0]

    @property
    def frames(self) -> list[tuple[bytes, int, int]]:
        return self.events[1:]

    def wait_for(self, frames: int) -> None:
        until(f"{frames} frames", lambda: len(self.frames) >= frames or self.error is not None)
        assert self.error is None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> float:
        """Stop the source; return the seconds that this took."""
        begun = time.monotonic()
        self.commands.put(Stop())
        self._thread.join(10)
        assert not self._thread.is_alive()
        return time.monotonic() - begun

    def _run(self) -> None:
        try:
            self._camera.run(self, self.commands)
        except BaseException as error:  # noqa: BLE001 - for the thread that asks
            self.error = error


@contextlib.contextmanager
def running(camera: csi.CsiSource) -> Iterator[Recorder]:
    recorder = Recorder(camera)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()
    assert recorder.error is None


def rate(recorder: Recorder, frames: int = 40) -> float:
    """Return frames a second by the camera's timestamps, without the first frames after a start."""
    recorder.wait_for(frames + 5)
    times = [captured for _, captured, _ in recorder.frames[5 : frames + 5]]
    return (len(times) - 1) * 1e9 / (times[-1] - times[0])


def refusal(camera: csi.CsiSource) -> SourceError:
    commands = Commands()
    commands.put(Stop())
    with pytest.raises(SourceError) as refused:
        camera.run(Recorder(camera), commands)
    return refused.value


def test_lists_the_cameras_with_index_name_and_id() -> None:
    assert [(camera.index, camera.name, camera.id) for camera in csi.cameras()] == [
        (0, "Virtual Frames", "VirtualFrames"),
        (1, "Virtual Bars", "VirtualBars"),
    ]


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
            picture = Image.open(io.BytesIO(jpeg))
            picture.load()
            assert picture.size == (recorder.info.width, recorder.info.height) == (640, 480)
        assert len({jpeg for jpeg, _, _ in recorder.frames[:10]}) == 10


def test_frames_have_the_time_of_their_capture_on_the_monotonic_clock() -> None:
    with running(source()) as recorder:
        recorder.wait_for(30)
        times = [captured for _, captured, _ in recorder.frames]
        assert times == sorted(set(times))
        for _, captured, arrived in recorder.frames:
            assert 0 <= arrived - captured < 1e9


def test_announces_the_size_and_rate_that_the_camera_really_gives() -> None:
    with running(source(width=800, height=600, framerate=240.0)) as recorder:
        recorder.wait_for(1)
        info = recorder.info
        assert (info.width, info.height) == (1280, 720)
        assert info.framerate == pytest.approx(120, rel=0.01)
        assert Image.open(io.BytesIO(recorder.frames[0][0])).size == (1280, 720)


def test_stops_within_a_second() -> None:
    recorder = Recorder(source())
    recorder.start()
    recorder.wait_for(5)
    assert recorder.stop() < 1
    assert recorder.error is None


def test_runs_twenty_times_without_leaking_descriptors_or_threads() -> None:
    camera = source(framerate=60.0)

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


def test_two_cameras_run_at_once() -> None:
    with running(source("0")) as frames, running(source("1")) as bars:
        assert rate(frames) == pytest.approx(30, rel=0.2)
        assert rate(bars) == pytest.approx(30, rel=0.2)
        assert (frames.info.name, bars.info.name) == ("Virtual Frames", "Virtual Bars")


def test_without_a_choice_it_is_the_first_camera() -> None:
    with running(source("")) as recorder:
        recorder.wait_for(1)
        assert recorder.info.name == "Virtual Frames"


def test_an_unknown_camera_is_missing_and_the_hint_names_those_that_are_there() -> None:
    error = refusal(source("/base/soc/imx708@1a"))
    assert error.cause is Cause.MISSING
    assert "VirtualBars" in error.hint


def test_a_camera_in_use_is_busy_and_free_again_afterwards() -> None:
    with running(source("1")) as recorder:
        recorder.wait_for(1)
        assert refusal(source("1")).cause is Cause.BUSY
        recorder.wait_for(len(recorder.frames) + 10)
    with running(source("1")) as recorder:
        recorder.wait_for(1)


@pytest.mark.parametrize(
    ("rotation", "hflip", "vflip", "orientation"),
    [
        (0, False, False, libcamera.Orientation.Rotate0),
        (0, True, False, libcamera.Orientation.Rotate0Mirror),
        (0, False, True, libcamera.Orientation.Rotate180Mirror),
        (180, False, False, libcamera.Orientation.Rotate180),
        (180, True, True, libcamera.Orientation.Rotate0),
        (180, True, False, libcamera.Orientation.Rotate180Mirror),
        # what is left of a quarter turn is to transpose
        (90, False, False, libcamera.Orientation.Rotate180Mirror),
        (90, True, False, libcamera.Orientation.Rotate180),
        (270, False, False, libcamera.Orientation.Rotate0Mirror),
        (270, True, True, libcamera.Orientation.Rotate180Mirror),
    ],
)
def test_turns_and_flips_reach_libcamera(rotation: int, hflip: bool, vflip: bool, orientation: Any) -> None:
    class Witness(MemfdAllocator):
        orientation = None

        def allocate(self, libcamera_config: Any, use_case: str | None) -> None:
            self.orientation = libcamera_config.orientation
            super().allocate(libcamera_config, use_case)

    witness = Witness()
    with running(source(allocator=witness, rotation=rotation, hflip=hflip, vflip=vflip)) as recorder:
        recorder.wait_for(1)
    assert witness.orientation == orientation


@pytest.mark.parametrize("rotation", [90, 270])
def test_a_quarter_turn_transposes_what_the_camera_gives(rotation: int) -> None:
    with running(source(width=640, height=480, rotation=rotation)) as turned, running(source("0")) as other:
        turned.wait_for(30)
        other.wait_for(30)
    assert (turned.info.width, turned.info.height) == (480, 640)
    for jpeg, _, _ in turned.frames[:30]:
        picture = Image.open(io.BytesIO(jpeg))
        picture.load()
        assert picture.size == (480, 640)
    # the virtual camera's bars stand upright, and it does not flip: so they lie now
    pixels = np.asarray(picture.convert("L"), dtype=int)
    assert np.abs(np.diff(pixels.mean(axis=1))).max() > 10 > np.abs(np.diff(pixels.mean(axis=0))).max()


def test_turned_pictures_keep_the_rate_and_their_times() -> None:
    with running(source(rotation=90)) as recorder:
        assert rate(recorder) == pytest.approx(30, rel=0.2)
        for _, captured, arrived in recorder.frames:
            assert 0 <= arrived - captured < 1e9


def test_a_camera_without_controls_offers_none_and_an_order_for_one_does_not_stop_it() -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        recorder.commands.put(SetControls(1, {"brightness": 0.5}))
        until("the second report", lambda: len(recorder.reports) == 2)
        recorder.wait_for(len(recorder.frames) + 3)
    first, answer = recorder.reports
    assert (first.number, first.controls, first.refused) == (0, (), {})
    assert answer.number == 1 and "no such control" in answer.refused["brightness"]


@pytest.mark.parametrize(("rotation", "size"), [(0, (1280, 720)), (90, (720, 1280))])
def test_a_still_has_the_sensors_full_size_and_the_stream_goes_on_as_before(
    rotation: int, size: tuple[int, int]
) -> None:
    with running(source(rotation=rotation)) as recorder:
        recorder.wait_for(5)
        for number in (1, 2):
            before = time.monotonic_ns()
            recorder.commands.put(TakeStill(number))
            until("a still", lambda number=number: len(recorder.stills) == number or recorder.error)
            assert recorder.error is None
            still = recorder.stills[-1]
            assert (still.number, still.refused) == (number, "")
            assert before < still.captured_ns < time.monotonic_ns()
            picture = Image.open(io.BytesIO(still.jpeg))
            picture.load()
            assert picture.size == size
            assert picture.getexif()[ORIENTATION] == 1
            frames = len(recorder.frames)
            recorder.wait_for(frames + 5)
            newest = Image.open(io.BytesIO(recorder.frames[-1][0]))
            assert newest.size == (recorder.info.width, recorder.info.height)
    times = [captured for _, captured, _ in recorder.frames]
    assert times == sorted(set(times)), "no frame from before comes after the still"


def test_a_still_says_when_and_by_which_camera_it_was_taken() -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        recorder.commands.put(TakeStill(1))
        until("a still", lambda: recorder.stills)
    exif = Image.open(io.BytesIO(recorder.stills[0].jpeg)).getexif()
    assert exif[MODEL] == "Virtual Bars"
    details = exif.get_ifd(EXIF)
    moment = datetime.strptime(details[DATE] + details[OFFSET].replace(":", ""), "%Y:%m:%d %H:%M:%S%z")
    assert abs(moment.timestamp() - time.time()) < 10
    assert EXPOSURE not in details, "the virtual camera does not tell it"


@pytest.mark.parametrize("rotation", [0, 90])
def test_the_overlay_is_drawn_before_encoding_in_the_final_top_left_corner(rotation: int) -> None:
    def corner(overlay: str) -> Any:
        with running(source(rotation=rotation, overlay=overlay)) as recorder:
            recorder.wait_for(5)
            recorder.commands.put(TakeStill(1))
            until("a still", lambda: recorder.stills)
        pictures = [Image.open(io.BytesIO(data)) for data in (recorder.frames[4][0], recorder.stills[0].jpeg)]
        return [np.asarray(picture.convert("L"), dtype=int)[:40, :120] for picture in pictures]

    for plain, drawn in zip(corner(""), corner("MMMMMMMMMMMMMMMM"), strict=True):
        assert np.median(drawn[:2]) < 40, "the box is dark above the letters"
        assert drawn.max() > 150, "and the letters are light"
        assert abs(np.median(plain[:2]) - np.median(drawn[:2])) > 40
