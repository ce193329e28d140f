"""libcamera's controls under rpicam-apps' names, with the control tables of Pi cameras."""

from __future__ import annotations

from typing import Any

import pytest

from pi_cam_daemon.camera.csi_controls import CsiControls
from pi_cam_daemon.config.schema import ControlsConfig
from pi_cam_daemon.ipc.controls import Control, Kind
from tests.pi_camera import CAMERA_MODULE_3, MONOCHROME, WITHOUT_SWITCHES

FRAME_US = 40_000


class Camera:
    """A camera's control table that behaves as libcamera's binding: it refuses controls that it does not list."""

    def __init__(self, listed: dict[str, tuple[Any, Any, Any]], refuses: str = "") -> None:
        self.listed = listed
        self.refuses = refuses
        self.now: dict[str, Any] = {}
        self.controls = CsiControls(listed, FRAME_US, self._set)

    def _set(self, controls: dict[str, Any]) -> None:
        for name in controls:
            if name not in self.listed or name == self.refuses:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        self.now |= controls

    def control(self, name: str) -> Control:
        return next(control for control in self.controls.controls if control.name == name)

    def set(self, **wanted: object) -> dict[str, Any]:
        """Set *wanted*, which must all be accepted, and return the result."""
        report = self.controls.set(1, wanted)
        assert report.refused == {}
        return report.applied


@pytest.fixture
def camera() -> Camera:
    return Camera(CAMERA_MODULE_3)


def test_a_full_camera_has_all_controls_of_the_configuration_and_the_trigger(camera: Camera) -> None:
    names = {control.name for control in camera.controls.controls}
    assert names == {*ControlsConfig.__dataclass_fields__, "autofocus_trigger"}


def test_a_control_that_the_camera_lacks_is_not_offered() -> None:
    names = {control.name for control in Camera(MONOCHROME).controls.controls}
    assert names == {
        "shutter", "gain", "flicker_period", "ev", "brightness", "contrast", "sharpness", "exposure", "metering",
        "denoise", "roi",
    }  # fmt: skip
    assert Camera({"FrameDurationLimits": (1, 2, 3)}).controls.controls == ()


def test_limits_and_defaults_come_from_the_camera(camera: Camera) -> None:
    contrast = camera.control("contrast")
    assert (contrast.kind, contrast.minimum, contrast.maximum, contrast.default) == (Kind.NUMBER, 0.0, 32.0, 1.0)
    lens = camera.control("lens_position")
    assert (lens.minimum, lens.maximum, lens.default) == (0.0, 15.0, None)
    assert camera.control("hdr").choices == ("off", "single-exp")
    assert camera.control("awb").default == "auto"
    assert camera.control("roi").default == [0.125, 0.0, 0.75, 1.0]


def test_an_exposure_is_no_longer_than_a_frame(camera: Camera) -> None:
    shutter = camera.control("shutter")
    assert (shutter.minimum, shutter.maximum, shutter.default) == (26, FRAME_US, 0)


@pytest.mark.parametrize(
    ("wanted", "libcamera"),
    [
        ({"awb": "cloudy"}, {"AwbMode": 6}),
        ({"ev": -1}, {"ExposureValue": -1.0}),
        ({"exposure": "sport"}, {"AeExposureMode": 1}),
        ({"metering": "average"}, {"AeMeteringMode": 2}),
        ({"brightness": 0.2, "contrast": 1.5}, {"Brightness": 0.2, "Contrast": 1.5}),
        ({"saturation": 0}, {"Saturation": 0.0}),
        ({"sharpness": 16}, {"Sharpness": 16.0}),
        ({"denoise": "cdn_off"}, {"NoiseReductionMode": 3}),
        ({"denoise": None}, {"NoiseReductionMode": 1}),
        ({"shutter": 5000}, {"ExposureTimeMode": 1, "ExposureTime": 5000}),
        ({"shutter": 0}, {"ExposureTimeMode": 0, "ExposureTime": 0}),
        ({"gain": 2}, {"AnalogueGainMode": 1, "AnalogueGain": 2.0}),
        ({"gain": None}, {"AnalogueGainMode": 0, "AnalogueGain": 0.0}),
        ({"flicker_period": 10_000}, {"AeFlickerMode": 1, "AeFlickerPeriod": 10_000}),
        ({"flicker_period": 0}, {"AeFlickerMode": 0}),
        ({"roi": [0.25, 0.25, 0.5, 0.5]}, {"ScalerCrop": (1152, 648, 2304, 1296)}),
        ({"roi": None}, {"ScalerCrop": (576, 0, 3456, 2592)}),
        ({"autofocus_window": [0.5, 0.5, 0.25, 0.25]}, {"AfMetering": 1, "AfWindows": [(2304, 1296, 1152, 648)]}),
        ({"autofocus_window": None}, {"AfMetering": 0}),
        ({"autofocus_range": "macro", "autofocus_speed": "fast"}, {"AfRange": 1, "AfSpeed": 1}),
        ({"lens_position": 2}, {"AfMode": 0, "LensPosition": 2.0}),
        ({"autofocus_mode": "auto", "autofocus_trigger": True}, {"AfMode": 1, "AfTrigger": 0}),
        ({"hdr": "single-exp"}, {"HdrMode": 3}),
    ],
)
def test_the_words_of_rpicam_apps_become_libcameras_controls(
    camera: Camera, wanted: dict[str, Any], libcamera: dict[str, Any]
) -> None:
    camera.set(**wanted)
    assert camera.now == libcamera


def test_every_default_can_be_set_and_is_shown(camera: Camera) -> None:
    names = [control.name for control in camera.controls.controls if control.kind is not Kind.ACTION]
    applied = camera.set(**dict.fromkeys(names))
    assert applied == {name: camera.control(name).default for name in names}


def test_what_is_in_force_is_what_was_set_and_not_given_back(camera: Camera) -> None:
    assert camera.controls.in_force() == {}
    camera.set(shutter=5000, brightness=0.5, roi=[0.25, 0.25, 0.5, 0.5], lens_position=2, flicker_period=10_000)
    assert camera.controls.in_force() == camera.now
    camera.set(autofocus_mode="auto", autofocus_trigger=True)
    camera.set(shutter=0, brightness=None, roi=None, flicker_period=0)
    assert camera.controls.in_force() == {
        "ExposureTimeMode": 0, "ExposureTime": 0, "Brightness": 0.0, "AfMode": 1, "AeFlickerMode": 0
    }  # fmt: skip


def test_a_libcamera_without_auto_switches_gets_0_for_automatic() -> None:
    camera = Camera(WITHOUT_SWITCHES)
    camera.set(shutter=1000, gain=4)
    assert camera.now == {"ExposureTime": 1000, "AnalogueGain": 4.0}
    camera.set(shutter=0, gain=None)
    assert camera.now == {"ExposureTime": 0, "AnalogueGain": 0.0}


def test_a_region_that_is_too_small_becomes_the_smallest_and_is_reported(camera: Camera) -> None:
    applied = camera.set(roi=[0.999, 0.999, 0.001, 0.001])
    assert camera.now == {"ScalerCrop": (4608 - 64, 2592 - 64, 64, 64)}
    assert applied["roi"] == pytest.approx([4544 / 4608, 2528 / 2592, 64 / 4608, 64 / 2592], abs=1e-5)
    assert camera.control("roi").value == applied["roi"]


def test_a_lens_is_moved_by_hand_or_by_the_autofocus(camera: Camera) -> None:
    assert camera.control("autofocus_mode").value == "continuous"
    assert camera.set(lens_position=3) == {"lens_position": 3.0, "autofocus_mode": "manual"}
    assert camera.set(autofocus_mode="auto") == {"autofocus_mode": "auto", "lens_position": None}
    camera.set(lens_position=3)
    assert camera.set(lens_position=None) == {"lens_position": None, "autofocus_mode": "continuous"}
    assert camera.now["AfMode"] == 2
    report = camera.controls.set(1, {"lens_position": 1, "autofocus_mode": "continuous", "ev": 1})
    assert "manual" in report.refused["lens_position"]
    assert report.applied == {"autofocus_mode": "continuous", "ev": 1.0}


def test_a_control_without_effect_is_inactive(camera: Camera) -> None:
    def inactive() -> set[str]:
        return {control.name for control in camera.controls.controls if control.inactive}

    assert inactive() == {"autofocus_trigger"}
    camera.set(autofocus_mode="auto", shutter=5000)
    assert inactive() == set()
    camera.set(gain=2)
    assert inactive() == {"ev", "exposure", "metering", "flicker_period"}
    camera.set(lens_position=2, gain=0)
    assert inactive() == {"autofocus_trigger", "autofocus_range", "autofocus_speed", "autofocus_window"}


def test_a_trigger_without_effect_is_refused(camera: Camera) -> None:
    report = camera.controls.set(1, {"autofocus_trigger": True})
    assert 'that is "continuous"' in report.refused["autofocus_trigger"]
    assert camera.now == {}


def test_a_refused_value_is_reported_and_the_old_one_stays() -> None:
    camera = Camera(CAMERA_MODULE_3, refuses="Contrast")
    camera.set(brightness=0.1)
    report = camera.controls.set(1, {"contrast": 2, "brightness": 0.5})
    assert report.applied == {}
    assert set(report.refused) == {"contrast", "brightness"}
    assert "Control Contrast is not advertised" in report.refused["contrast"]
    assert camera.control("brightness").value == 0.1
    assert camera.now == {"Brightness": 0.1}


def test_a_camera_starts_with_what_is_configured_and_focuses_by_itself(camera: Camera) -> None:
    report = camera.controls.start({"brightness": 0.5, "roi": [0, 0, 0.5, 0.5]})
    assert report.number == 0 and report.refused == {}
    assert set(report.applied) == {"brightness", "roi"}
    assert camera.now == {
        "Brightness": 0.5, "ScalerCrop": (0, 0, 2304, 1296), "AfMode": 2, "NoiseReductionMode": 1
    }  # fmt: skip


def test_a_configured_lens_position_switches_the_autofocus_off(camera: Camera) -> None:
    assert camera.controls.start({"lens_position": 4.0}).refused == {}
    assert camera.now["AfMode"] == 0 and camera.now["LensPosition"] == 4.0


def test_controls_of_another_camera_are_reported_and_the_rest_is_set() -> None:
    camera = Camera(MONOCHROME)
    report = camera.controls.start({"awb": "cloudy", "shutter": 1_000_000, "ev": 1.0})
    assert set(report.refused) == {"awb", "shutter"}
    assert report.applied == {"ev": 1.0}
