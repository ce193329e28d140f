"""CsiSource and its decisions, on a fake picamera2 and without any."""

from __future__ import annotations

import errno
import io
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pi_cam_daemon.camera import csi, csi_encoders
from pi_cam_daemon.camera.source import Commands, Stop, TakeStill
from pi_cam_daemon.config.schema import CsiConfig, VideoConfig
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.ipc.messages import CameraInfo, Report, SetControls, Still
from tests.lateness import patience
from tests.pi_camera import CAMERA_MODULE_3

FAKE = Path(__file__).parent / "fake_picamera2"
CAMERAS = [csi.Camera(0, "imx708", "/base/i2c@1/imx708@1a"), csi.Camera(1, "imx219", "/base/i2c@0/imx219@10")]


def video(**changes: Any) -> VideoConfig:
    values = {"width": 640, "height": 480, "framerate": 40.0, "rotation": 0, "hflip": False, "vflip": False}
    return VideoConfig(**{**values, "rotation_method": "pixels", "quality": 80, "overlay": "", **changes})


def source(camera: str = "", tuning_file: str = "", **changes: Any) -> csi.CsiSource:
    return csi.CsiSource(video(**changes), CsiConfig(camera, tuning_file, buffer_count=4))


@pytest.fixture
def without_picamera2(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Forget all modules of picamera2 and libcamera that a test imported."""
    names = ("picamera2", "libcamera")
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
    for name in kept:
        del sys.modules[name]
    yield monkeypatch
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def machine(without_picamera2: pytest.MonkeyPatch) -> Any:
    """Return the fake's machine, reset."""
    without_picamera2.syspath_prepend(FAKE)
    without_picamera2.setenv("LIBCAMERA_RPI_TUNING_FILE", "")
    import picamera2

    assert Path(picamera2.__file__).is_relative_to(FAKE)
    return picamera2.machine


class Watcher:
    """A sink that sends Stop after a number of frames."""

    wanted = True
    passed_over = 0

    def __init__(self, commands: Commands, frames: int = 3) -> None:
        self.events: list[CameraInfo | tuple[bytes, int]] = []
        self.reports: list[Report] = []
        self.stills: list[Still] = []
        self._commands = commands
        self._left = frames

    @property
    def info(self) -> CameraInfo:
        assert isinstance(self.events[0], CameraInfo), "a frame before the announcement"
        return self.events[0]

    @property
    def frames(self) -> list[Any]:
        return self.events[1:]

    def opened(self, info: CameraInfo) -> None:
        self.events.append(info)

    def controls(self, report: Report) -> None:
        self.reports.append(report)

    def still(self, still: Still) -> None:
        self.stills.append(still)

    def passed(self) -> None:
        self.passed_over += 1
        if self.passed_over == 3:
            self.wanted = True

    def frame(self, jpeg: bytes, captured_ns: int) -> None:
        self.events.append((jpeg, captured_ns))
        self._left -= 1
        if self._left == 0:
            self._commands.put(Stop())


def watch(camera: csi.CsiSource, frames: int = 3) -> Watcher:
    """Run *camera* for a number of frames."""
    commands = Commands()
    deadline = threading.Timer(patience(10), commands.put, [Stop()])
    deadline.start()
    try:
        watcher = Watcher(commands, frames)
        camera.run(watcher, commands)
        return watcher
    finally:
        deadline.cancel()


def refusal(camera: csi.CsiSource) -> SourceError:
    with pytest.raises(SourceError) as refused:
        watch(camera)
    return refused.value


# -- which camera


@pytest.mark.parametrize(
    ("wanted", "index"), [("", 0), ("0", 0), ("1", 1), ("/base/i2c@0/imx219@10", 1), ("/base/i2c@1/imx708@1a", 0)]
)
def test_a_camera_is_chosen_by_its_index_or_id_and_the_first_without_either(wanted: str, index: int) -> None:
    assert csi.choose_camera(CAMERAS, wanted) is CAMERAS[index]


def test_of_several_cameras_the_first_is_told_with_the_others(machine: Any) -> None:
    assert watch(source()).info.reason == (
        "It is the first of 2 CSI cameras; choose with csi.camera: "
        "0 is imx708, /base/soc/i2c0mux/i2c@1/imx708@1a; 1 is imx219, /base/soc/i2c0mux/i2c@0/imx219@10"
    )
    assert watch(source("1")).info.reason == ""
    del machine.cameras[1:]
    assert watch(source()).info.reason == ""


@pytest.mark.parametrize("wanted", ["2", "-1", "imx219", "/base"])
def test_an_unknown_camera_is_missing_and_the_hint_names_those_that_are_there(wanted: str) -> None:
    with pytest.raises(SourceError) as refused:
        csi.choose_camera(CAMERAS, wanted)
    assert refused.value.cause is Cause.MISSING
    assert wanted in refused.value.message
    assert all(camera.id in refused.value.hint for camera in CAMERAS)


def test_no_camera_at_all_is_missing() -> None:
    with pytest.raises(SourceError) as refused:
        csi.choose_camera([], "")
    assert refused.value.cause is Cause.MISSING


def test_webcams_are_not_listed_as_csi_cameras(machine: Any) -> None:
    machine.cameras.append({"Model": "C920", "Id": "/base/scb/pcie@0/usb@0,0-1.2:1.0-046d:082d", "Num": 2})
    assert [(camera.index, camera.name) for camera in csi.cameras()] == [(0, "imx708"), (1, "imx219")]


@pytest.mark.parametrize(
    ("failure", "command"),
    [
        (
            "ModuleNotFoundError(\"No module named 'libcamera'\", name='libcamera')",
            "sudo apt install --reinstall python3-picamera2 python3-libcamera",
        ),
        (
            "ValueError('numpy.dtype size changed, may indicate binary incompatibility')",
            "pip uninstall numpy",  # these tests run in a virtual environment with a numpy of its own
        ),
        (
            "ImportError('_libcamera.so: undefined symbol: _ZN9libcamera8controls3HdrE')",
            "sudo apt update && sudo apt full-upgrade",
        ),
        ("AttributeError('module numpy has no attribute float')", "pip uninstall numpy"),
    ],
)
def test_a_broken_picamera2_gets_the_command_that_repairs_it(
    without_picamera2: pytest.MonkeyPatch, tmp_path: Path, failure: str, command: str
) -> None:
    (tmp_path / "picamera2.py").write_text(f"raise {failure}\n")
    without_picamera2.syspath_prepend(tmp_path)
    for attempt in (csi.cameras, lambda: watch(source())):
        with pytest.raises(SourceError) as refused:
            attempt()
        assert refused.value.cause is Cause.BROKEN
        assert refused.value.message.startswith("picamera2 cannot be loaded: ")
        assert command in refused.value.hint


@pytest.mark.usefixtures("without_picamera2")
def test_without_picamera2_the_hint_is_the_command_that_installs_it() -> None:
    for attempt in (csi.cameras, lambda: watch(source())):
        with pytest.raises(SourceError) as refused:
            attempt()
        assert (refused.value.message, refused.value.cause) == ("picamera2 is not installed", Cause.MISSING)
        assert "sudo apt install python3-picamera2 --no-install-recommends" in refused.value.hint


# -- what it is asked for


def test_delivers_frames_after_the_announcement_and_returns_on_stop(machine: Any) -> None:
    watcher = watch(source("0"), frames=5)
    assert watcher.info == CameraInfo("csi", "imx708", 640, 480, 40.0, "YUV420", "hardware MJPEG (V4L2)")
    assert [jpeg for jpeg, _ in watcher.frames[:5]] == [machine.picture] * 5
    assert machine.open_cameras == []


def test_runs_again_after_it_stopped(machine: Any) -> None:
    camera = source()
    for _ in range(3):
        assert len(watch(camera).frames) >= 3
    assert machine.open_cameras == []


def test_a_stalled_camera_stops_within_a_second(machine: Any) -> None:
    machine.stalled = True
    commands = Commands()
    thread = threading.Thread(target=source().run, args=(Watcher(commands), commands))
    thread.start()
    commands.put(Stop())
    begun = time.monotonic()
    thread.join(patience(5))
    assert not thread.is_alive()
    assert time.monotonic() - begun < patience(1)
    assert machine.open_cameras == []


EVERY_ORIENTATION = list(itertools.product((0, 90, 180, 270), (False, True), (False, True)))


def camera_picture(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Draw the upright picture of the camera: the top left corner is bright, the top right one half as bright."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 240
    pixels[: height // 2, width // 2 :] = 120
    return pixels


def flipped(pixels: npt.NDArray[np.uint8], hflip: bool, vflip: bool) -> npt.NDArray[np.uint8]:
    return pixels[:: -1 if vflip else 1, :: -1 if hflip else 1]


def encoded(pixels: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels))[1].tobytes()


def decoded(jpeg: bytes) -> npt.NDArray[np.int_]:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)


@pytest.mark.parametrize("sensor_flips", [True, False])
@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
def test_turns_that_the_sensor_lacks_are_done_in_software(
    machine: Any, rotation: int, hflip: bool, vflip: bool, sensor_flips: bool
) -> None:
    seen = camera_picture(332, 126)
    machine.flips = sensor_flips
    machine.gives_size = (332, 126)
    machine.picture = lambda transform: encoded(flipped(seen, transform.hflip, transform.vflip))
    watcher = watch(source(width=332, height=126, rotation=rotation, hflip=hflip, vflip=vflip))
    upright = np.rot90(flipped(seen, hflip, vflip), -rotation // 90)
    assert (watcher.info.height, watcher.info.width) == upright.shape[:2]
    for jpeg, _ in watcher.frames:
        assert decoded(jpeg).shape == upright.shape
        assert np.abs(decoded(jpeg) - upright).mean() < 3


@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
def test_with_the_sensors_flips_a_jpeg_of_any_size_is_turned_without_decoding(
    machine: Any, rotation: int, hflip: bool, vflip: bool
) -> None:
    machine.picture = jpeg = encoded(camera_picture(332, 126))
    turned = decoded(watch(source(rotation=rotation, hflip=hflip, vflip=vflip)).frames[0][0])
    expected = decoded(jpeg).transpose(1, 0, 2) if rotation in (90, 270) else decoded(jpeg)
    assert np.abs(turned - expected).mean() < 0.1


def test_half_a_turn_by_the_sensor_leaves_the_pictures_as_they_are(machine: Any) -> None:
    watcher = watch(source(rotation=180))
    assert [jpeg for jpeg, _ in watcher.frames] == [machine.picture] * len(watcher.frames)


def test_a_quarter_turn_by_exif_announces_the_size_that_is_stored(machine: Any) -> None:
    seen = camera_picture(64, 48)
    machine.gives_size = (64, 48)
    machine.picture = lambda transform: encoded(flipped(seen, transform.hflip, transform.vflip))
    watcher = watch(source(width=64, height=48, rotation=90, rotation_method="exif"))
    assert (watcher.info.width, watcher.info.height) == (64, 48)
    # OpenCV obeys the mark
    assert np.abs(decoded(watcher.frames[0][0]) - np.rot90(seen, -1)).mean() < 3


def test_a_picture_that_cannot_be_turned_is_left_out(machine: Any) -> None:
    good = encoded(camera_picture(64, 48))
    pictures = itertools.cycle((b"\xff\xd8 not a picture \xff\xd9", good))
    machine.picture = lambda _: next(pictures)
    for jpeg, _ in watch(source(rotation=90)).frames:
        assert decoded(jpeg).shape == (64, 48, 3)


def test_unwanted_pictures_are_not_turned(machine: Any) -> None:
    machine.picture = encoded(camera_picture(64, 48))
    commands = Commands()
    watcher = Watcher(commands, frames=1)
    watcher.wanted = False
    source(rotation=90).run(watcher, commands)
    assert (watcher.passed_over, len(watcher.frames)) == (3, 1)


def test_during_a_turn_only_the_newest_picture_waits(machine: Any) -> None:
    class Slow(Watcher):
        def frame(self, jpeg: bytes, captured_ns: int) -> None:
            begun, seen = time.monotonic(), machine.delivered
            while machine.delivered < seen + 5:
                assert time.monotonic() < begun + patience(5), "the camera delivers nothing"
                time.sleep(0.01)
            super().frame(jpeg, captured_ns)

    machine.picture = encoded(camera_picture(64, 48))
    commands = Commands()
    watcher = Slow(commands, frames=4)
    source(rotation=90).run(watcher, commands)
    times = [captured_ns for _, captured_ns in watcher.frames]
    assert all(later - earlier > 3 * 25_000_000 for earlier, later in itertools.pairwise(times))


def test_a_different_size_is_announced_and_logged(machine: Any, caplog: pytest.LogCaptureFixture) -> None:
    machine.gives_size = (1920, 1080)
    info = watch(source(width=4000, height=2000)).info
    assert (info.width, info.height) == (1920, 1080)
    assert "imx708 gives 1920x1080, not 4000x2000" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "given"), [(0.01, 1e6 / 11_767_556), (25.0, 25.0), (60.0, 60.0), (240.0, 1e6 / 11_000)]
)
def test_the_frame_rate_is_kept_within_the_cameras_limits_and_announced(
    machine: Any, caplog: pytest.LogCaptureFixture, wanted: float, given: float
) -> None:
    machine.stalled = True  # nobody wants to wait for a frame at 0.01 a second
    commands = Commands()
    commands.put(Stop())
    watcher = Watcher(commands)
    source(framerate=wanted).run(watcher, commands)
    assert watcher.info.framerate == given
    assert (f"{given:.2f} frames a second, not {wanted:g}" in caplog.text) is (given != wanted)
    assert machine.controls["FrameDurationLimits"] == (round(1e6 / given),) * 2


@pytest.mark.parametrize(
    ("size", "framerate", "modes"),
    [
        ((640, 480), 25.0, [{"output_size": (1640, 1232)}]),
        ((1640, 1232), 25.0, [{"output_size": (1640, 1232)}]),
        ((640, 480), 60.0, [{"output_size": (1640, 1232)}, {}]),
        ((1920, 1080), 25.0, [{}]),
    ],
)
def test_the_sensors_full_view_is_used_unless_too_slow_or_too_small(
    machine: Any, size: tuple[int, int], framerate: float, modes: list[dict[str, Any]]
) -> None:
    watch(source(width=size[0], height=size[1], framerate=framerate))
    assert [configuration["sensor"] for configuration in machine.configurations] == modes


def test_the_camera_shares_as_many_buffers_as_configured_and_no_raw_stream(machine: Any) -> None:
    watch(source())
    assert machine.configurations[-1]["buffer_count"] == 4
    assert machine.configurations[-1]["raw"] is None


def test_the_tuning_file_is_set_before_libcamera_looks_for_cameras(machine: Any, tmp_path: Path) -> None:
    tuning = tmp_path / "mine.json"
    tuning.write_text("{}")
    watch(source(tuning_file=str(tuning)))
    assert machine.tuning_when_listed == str(tuning)


def test_a_tuning_file_is_a_path_or_the_name_of_one_of_libcameras_own(tmp_path: Path) -> None:
    for platform in ("vc4", "pisp"):
        (tmp_path / "usr" / platform).mkdir(parents=True)
        (tmp_path / "usr" / platform / "imx219_noir.json").touch()
    folders = [tmp_path / "local", tmp_path / "usr"]
    assert csi.find_tuning_file("imx219_noir.json", "pisp", folders) == tmp_path / "usr/pisp/imx219_noir.json"
    path = tmp_path / "usr/vc4/imx219_noir.json"
    assert csi.find_tuning_file(str(path), "pisp", folders) == path
    for absent in ("imx219.json", str(tmp_path / "imx219.json")):
        with pytest.raises(SourceError) as refused:
            csi.find_tuning_file(absent, "vc4", folders)
        assert refused.value.cause is Cause.SETTINGS


# -- the encoder


@pytest.mark.parametrize(
    ("vc4", "width", "height", "hardware"),
    [
        (True, 640, 480, True),
        (True, 1920, 1920, True),
        (True, 1922, 1080, False),
        (True, 1080, 1922, False),
        (False, 640, 480, False),
    ],
)
def test_the_hardware_encodes_on_a_pi_0_to_4_up_to_its_limit(
    vc4: bool, width: int, height: int, hardware: bool
) -> None:
    assert csi_encoders.has_hardware_encoder(vc4, width, height) is hardware


def test_the_hardware_encoder_gets_a_bitrate_and_the_software_encoder_the_quality(machine: Any) -> None:
    encoder, name = csi_encoders.choose_encoder(640, 480, 50)
    assert (encoder.bitrate, name) == (csi_encoders.bitrate(50, 640, 480), "hardware MJPEG (V4L2)")
    machine.platform = type(machine.platform).PISP
    encoder, name = csi_encoders.choose_encoder(640, 480, 50)
    assert (encoder.q, name) == (50, "software JPEG (simplejpeg)")


@pytest.mark.parametrize(("quality", "megabits"), [(25, 16), (35, 20), (50, 30), (65, 40), (80, 50)])
def test_the_bitrate_follows_picamera2s_levels_in_proportion_to_the_size(quality: int, megabits: int) -> None:
    assert csi_encoders.bitrate(quality, 960, 540) == pytest.approx(megabits * 1e6 / 4, abs=1)


def test_the_bitrate_never_falls_as_quality_or_size_grow() -> None:
    by_quality = [csi_encoders.bitrate(quality, 640, 480) for quality in range(1, 101)]
    assert by_quality == sorted(set(by_quality))
    by_size = [csi_encoders.bitrate(80, width, 480) for width in range(16, 1921, 16)]
    assert by_size == sorted(by_size)


@pytest.mark.parametrize(("quality", "size", "bits"), [(1, (16, 16), 25_000), (100, (1920, 1920), 25_000_000)])
def test_the_bitrate_stays_within_what_the_driver_takes(quality: int, size: tuple[int, int], bits: int) -> None:
    assert csi_encoders.bitrate(quality, *size) == bits


# -- its frames


def test_a_frame_has_the_sensors_capture_time() -> None:
    assert csi_encoders.captured_ns(5_000_000, 40_000, now_ns=5_050_000_000) == 5_040_000_000


def test_a_frame_is_never_from_the_future_and_without_a_timestamp_it_is_from_now() -> None:
    assert csi_encoders.captured_ns(9_000_000, 0, now_ns=5_000_000_000) == 5_000_000_000
    assert csi_encoders.captured_ns(9_000_000, None, now_ns=7) == 7
    assert csi_encoders.captured_ns(None, 0, now_ns=7) == 7


def test_h264_from_old_firmware_is_an_error_that_names_the_firmware(machine: Any) -> None:
    machine.picture = b"\x00\x00\x00\x01\x27\x64"
    error = refusal(source())
    assert error.cause is Cause.LOST
    assert "firmware" in error.message
    assert machine.open_cameras == []


def test_an_error_of_the_sink_passes_through_unchanged(machine: Any) -> None:
    class Broken(Watcher):
        def frame(self, jpeg: bytes, captured_ns: int) -> None:
            super().frame(jpeg, captured_ns)
            raise RuntimeError("a bug")

    commands = Commands()
    with pytest.raises(RuntimeError, match="a bug"):
        source().run(Broken(commands), commands)
    assert machine.open_cameras == []


# -- when it fails


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("Failed to acquire camera: Device or resource busy"), Cause.BUSY),
        (RuntimeError("Pipeline handler in use by another process"), Cause.BUSY),
        (PermissionError(errno.EACCES, "Permission denied", "/dev/dma_heap/linux,cma"), Cause.PERMISSION),
        (AttributeError("'NoneType' object has no attribute 'at'"), Cause.BUSY),
    ],
)
def test_a_camera_that_does_not_open_reports_the_reason(machine: Any, error: Exception, cause: Cause) -> None:
    machine.open_error = error
    refused = refusal(source())
    assert refused.cause is cause
    assert str(error) in refused.message
    if cause is Cause.PERMISSION:
        assert "`video`" in refused.hint


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/video11"), Cause.LOST),
        (PermissionError(errno.EACCES, "Permission denied", "/dev/video11"), Cause.PERMISSION),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Cause.LOST),
        (RuntimeError("Configuration failed: {}"), Cause.SETTINGS),
        (RuntimeError("Failed to start camera: Broken pipe"), Cause.LOST),
    ],
)
def test_an_open_camera_that_fails_reports_the_reason_and_is_closed(
    machine: Any, error: Exception, cause: Cause
) -> None:
    machine.encoder_error = error
    refused = refusal(source())
    assert refused.cause is cause
    assert str(error) in refused.message
    assert ("cma-256" in refused.hint) is (getattr(error, "errno", None) == errno.ENOMEM)
    assert machine.open_cameras == []


def test_a_bug_is_not_reported_as_a_lost_camera(machine: Any) -> None:
    machine.encoder_error = KeyError("NV12")
    with pytest.raises(KeyError):
        watch(source())


# -- controls


class Adjuster(Watcher):
    """Sends these orders once the camera runs, and Stop after the last answer."""

    def __init__(self, commands: Commands, *orders: dict[str, Any]) -> None:
        super().__init__(commands, frames=10_000)
        self._orders = [SetControls(number, order) for number, order in enumerate(orders, 1)]

    def controls(self, report: Report) -> None:
        super().controls(report)
        self._commands.put(self._orders[report.number] if report.number < len(self._orders) else Stop())


def test_controls_are_set_at_the_start_and_live_and_each_order_is_answered(machine: Any) -> None:
    machine.listed = CAMERA_MODULE_3
    commands = Commands()
    adjuster = Adjuster(commands, {"brightness": 0.5}, {"contrast": 99.0}, {"brightness": None})
    configured = csi.CsiSource(video(), CsiConfig("", "", 4), {"saturation": 0.0, "lens_position": 40.0})
    configured.run(adjuster, commands)
    first, bright, refused, last = adjuster.reports
    assert (first.number, first.applied) == (0, {"saturation": 0.0})
    assert "accepted: a number from 0.0 to 15.0" in first.refused["lens_position"]
    assert (bright.number, bright.applied, bright.refused) == (1, {"brightness": 0.5}, {})
    assert (refused.number, refused.applied, list(refused.refused)) == (2, {}, ["contrast"])
    assert (last.number, last.applied) == (3, {"brightness": 0.0})
    assert machine.controls["Saturation"] == 0.0 and machine.controls["Brightness"] == 0.0
    shutter = next(control for control in first.controls if control.name == "shutter")
    assert shutter.maximum == 25_000, "the frame of 40 frames a second"


def test_an_exposure_lasts_no_longer_than_the_frame_that_is_given(machine: Any) -> None:
    machine.listed = CAMERA_MODULE_3
    watcher = watch(source(framerate=200.0))
    (report,) = watcher.reports
    shutter = next(control for control in report.controls if control.name == "shutter")
    assert shutter.maximum == 11_000


# -- stills


def taken(camera: csi.CsiSource, *orders: SetControls) -> Watcher:
    """Run *camera* for a still after these *orders*."""
    commands = Commands()
    for order in orders:
        commands.put(order)
    commands.put(TakeStill(7))
    watcher = Watcher(commands)
    deadline = threading.Timer(patience(10), commands.put, [Stop()])
    deadline.start()
    camera.run(watcher, commands)
    deadline.cancel()
    return watcher


def test_a_still_is_taken_in_the_sensors_full_size_with_one_buffer(machine: Any) -> None:
    machine.shortest_us[3280, 2464] = 47_000
    machine.metadata = {"ExposureTime": 20_000, "AnalogueGain": 2.0, "DigitalGain": 1.25, "SensorTimestamp": 5}
    watcher = taken(source())
    (still,) = watcher.stills
    assert (still.number, still.refused, still.captured_ns) == (7, "", 5)
    stream, full, again = machine.configurations
    assert full["main"]["size"] == (3280, 2464)
    assert (full["buffer_count"], full["sensor"]) == (1, {"output_size": (3280, 2464)})
    assert machine.still_controls["FrameDurationLimits"] == (47_000, 47_000), "as fast as this mode can"
    assert again == stream
    assert machine.released == 1
    picture = Image.open(io.BytesIO(still.jpeg))
    assert picture.size == (3280, 2464)
    details = picture.getexif().get_ifd(0x8769)
    assert (float(details[0x829A]), details[0x8827]) == (0.02, 250)
    assert len(watcher.frames) >= 3, "the stream goes on"


def test_set_values_hold_for_a_still_but_a_trigger_is_not_repeated(machine: Any) -> None:
    machine.listed = CAMERA_MODULE_3
    machine.shortest_us[3280, 2464] = 47_000
    order = SetControls(1, {"brightness": 0.5, "autofocus_mode": "auto", "autofocus_trigger": True})
    taken(source(), order)
    for controls in (machine.still_controls, machine.controls):
        assert (controls["Brightness"], controls["AfMode"]) == (0.5, 1)
        assert "AfTrigger" not in controls


def test_a_still_shows_only_the_zoomed_region(machine: Any) -> None:
    machine.listed = CAMERA_MODULE_3
    machine.shortest_us[3280, 2464] = 47_000
    (still,) = taken(source(), SetControls(1, {"roi": [0.25, 0.5, 0.25, 0.5]})).stills
    assert machine.still_controls["ScalerCrop"] == (1152, 1296, 1152, 1296)
    assert Image.open(io.BytesIO(still.jpeg)).size == (1152, 1296), "its pixels as they are, not enlarged"


def test_without_memory_for_a_still_the_stream_goes_on_and_a_hint_is_given(machine: Any) -> None:
    machine.memory_error = (3280 * 2464, OSError(errno.ENOMEM, "Cannot allocate memory"))
    watcher = taken(source())
    (still,) = watcher.stills
    assert still.jpeg == b""
    assert "No memory for the camera's buffers" in still.refused
    assert "cma-256" in still.refused
    assert len(watcher.frames) >= 3, "the stream goes on"
