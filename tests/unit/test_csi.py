"""Decisions of CsiSource that need no picamera2; tests/picamera runs it on the real one."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.camera import csi, csi_encoders, csi_picamera2, csi_small
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.system import machine

CAMERAS = [csi.Camera(0, "imx708", "/base/i2c@1/imx708@1a"), csi.Camera(1, "imx219", "/base/i2c@0/imx219@10")]


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


# -- which camera


@pytest.mark.parametrize(
    ("wanted", "index"), [("", 0), ("0", 0), ("1", 1), ("/base/i2c@0/imx219@10", 1), ("/base/i2c@1/imx708@1a", 0)]
)
def test_a_camera_is_chosen_by_its_index_or_id_and_the_first_without_either(wanted: str, index: int) -> None:
    assert csi.choose_camera(CAMERAS, wanted) is CAMERAS[index]


@pytest.mark.parametrize("wanted", ["2", "-1", "imx219", "/base"])
def test_an_unknown_camera_is_missing_and_the_hint_names_those_that_are_there(wanted: str) -> None:
    with pytest.raises(SourceError) as refused:
        csi.choose_camera(CAMERAS, wanted)
    assert refused.value.cause is Cause.MISSING
    assert wanted in refused.value.message
    assert all(camera.id in refused.value.hint for camera in CAMERAS)
    values = refused.value.values
    assert (values["camera"], values["setting"]) == (wanted, "csi.camera") and values["offers"] in refused.value.hint


def test_no_camera_at_all_is_missing() -> None:
    with pytest.raises(SourceError) as refused:
        csi.choose_camera([], "")
    assert refused.value.cause is Cause.MISSING


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
    with pytest.raises(SourceError) as refused:
        csi.cameras()
    assert refused.value.cause is Cause.BROKEN
    assert refused.value.message.startswith("picamera2 cannot be loaded: ")
    assert command in refused.value.hint
    assert refused.value.hint.startswith(f"Run `{refused.value.values['command']}`, ")
    assert refused.value.message.endswith(refused.value.values["error"])


@pytest.mark.usefixtures("without_picamera2")
@pytest.mark.parametrize(
    ("board", "cause", "hint"),
    [
        ("", Cause.MISSING, "Only a Raspberry Pi has the connector of a CSI camera"),
        (
            "Raspberry Pi 4 Model B Rev 1.5",
            Cause.BROKEN,
            "Run `sudo apt install python3-picamera2 --no-install-recommends`, then start pi-cam-daemon again",
        ),
    ],
)
def test_without_picamera2_the_hint_fits_the_machine(
    monkeypatch: pytest.MonkeyPatch, board: str, cause: Cause, hint: str
) -> None:
    monkeypatch.setattr(machine, "model", lambda: board)
    for venv, more in {
        "include-system-site-packages = true\n": "",
        "include-system-site-packages = false\n": f"; make the virtual environment {sys.prefix} anew with "
        "--system-site-packages",
    }.items():
        monkeypatch.setattr(csi_picamera2, "_venv", lambda venv=venv: venv)
        with pytest.raises(SourceError) as refused:
            csi.cameras()
        assert (refused.value.message, refused.value.cause) == ("picamera2 is not installed", cause)
        assert refused.value.hint == hint + (more if board else "")


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


# -- the small stream


@pytest.mark.parametrize(
    ("size", "second"),
    [
        ((640, 480), (320, 240)),
        ((1280, 720), (640, 360)),
        ((720, 1280), (360, 640)),
        ((1640, 1232), (820, 616)),
        ((3280, 2464), (1200, 900)),
        ((332, 130), (166, 64)),
        ((332, 126), (332, 126)),  # no side below 64: the ISP of a Pi 0 to 4 gives none, and would squash it
        ((16, 16), (16, 16)),
    ],
)
def test_the_second_stream_has_half_of_each_side_in_even_numbers(
    size: tuple[int, int], second: tuple[int, int]
) -> None:
    assert csi_small.second_stream(size) == {"size": second, "format": "YUV420"}


# -- its frames


def test_a_frame_has_the_sensors_capture_time() -> None:
    assert csi_encoders.captured_ns(5_000_000, 40_000, now_ns=5_050_000_000) == 5_040_000_000


def test_a_frame_is_never_from_the_future_and_without_a_timestamp_it_is_from_now() -> None:
    assert csi_encoders.captured_ns(9_000_000, 0, now_ns=5_000_000_000) == 5_000_000_000
    assert csi_encoders.captured_ns(9_000_000, None, now_ns=7) == 7
    assert csi_encoders.captured_ns(None, 0, now_ns=7) == 7


# -- what an exception of picamera2 means


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("Failed to acquire camera: Device or resource busy"), Cause.BUSY),
        (RuntimeError("Pipeline handler in use by another process"), Cause.BUSY),
        (PermissionError(errno.EACCES, "Permission denied", "/dev/dma_heap/linux,cma"), Cause.PERMISSION),
        (AttributeError("'NoneType' object has no attribute 'at'"), Cause.BUSY),
    ],
)
def test_a_camera_that_does_not_open_reports_the_reason(error: Exception, cause: Cause) -> None:
    wrapped = RuntimeError("Camera __init__ sequence did not complete.")
    wrapped.__cause__ = error
    explained = csi_picamera2.explain(wrapped)
    assert explained.cause is cause
    assert str(error) in explained.message
    assert ("`video`" in explained.hint) is (cause is Cause.PERMISSION) is (explained.values.get("group") == "video")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/video11"), Cause.LOST),
        (PermissionError(errno.EACCES, "Permission denied", "/dev/video11"), Cause.PERMISSION),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Cause.LOST),
        (RuntimeError("Failed to start camera: Cannot allocate memory"), Cause.LOST),
        (RuntimeError("Failed to start camera: Device or resource busy"), Cause.BUSY),
        (RuntimeError("Camera in use by another process"), Cause.BUSY),
        (RuntimeError("Configuration failed: {}"), Cause.SETTINGS),
        (RuntimeError("Failed to start camera: Broken pipe"), Cause.LOST),
    ],
)
def test_an_open_camera_that_fails_reports_the_reason(error: Exception, cause: Cause) -> None:
    explained = csi_picamera2.explain(error)
    assert explained.cause is cause
    assert str(error) in explained.message
    assert ("lower video.width" in explained.hint) is ("allocate memory" in str(error))
    assert ("If CmaTotal in /proc/meminfo is below 256 MB" in explained.hint) is ("cma-256" in explained.hint)


# -- picamera2's version


@pytest.mark.parametrize("version", ["0.3.12", "0.3.25", "0.2"])
def test_an_old_picamera2_is_refused_with_the_version_that_is_needed(version: str) -> None:
    with pytest.raises(SourceError) as refused:
        csi_picamera2.check_version(version)
    assert refused.value.message == f"picamera2 {version} is too old: 0.3.26 or later is needed"
    assert "full-upgrade" in refused.value.hint


@pytest.mark.parametrize("version", ["0.3.26", "0.3.26-1", "0.3.38", "0.4.0", "1.0"])
def test_a_newer_picamera2_is_taken_without_a_word(version: str, caplog: pytest.LogCaptureFixture) -> None:
    csi_picamera2.check_version(version)
    assert caplog.text == ""


def test_the_one_picamera2_with_stale_pictures_is_taken_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    csi_picamera2.check_version.cache_clear()
    for _ in range(2):
        csi_picamera2.check_version("0.3.32")
    (record,) = caplog.records
    assert record.getMessage().startswith("picamera2 0.3.32 mixes parts of older pictures into stills")
