"""libcamera's controls under rpicam-apps' names, with the control tables of Pi cameras."""

from __future__ import annotations

from typing import Any

import pytest

from pi_cam_daemon.camera.csi_controls import CsiControls
from pi_cam_daemon.config.schema import ControlsConfig
from pi_cam_daemon.ipc.controls import Control, Group, Kind
from tests.kit.pi_camera import CAMERA_MODULE_3, MONOCHROME, TWO_STREAMS, WITHOUT_SWITCHES

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


def test_two_streams_of_a_pi_5_get_the_same_region_and_a_still_alone_gets_its_own() -> None:
    camera = Camera(TWO_STREAMS)
    middle = (1152, 648, 2304, 1296)
    camera.set(roi=[0.25, 0.25, 0.5, 0.5])
    # libcamera ignores ScalerCrop beside ScalerCrops, which picamera2 sets with each configuration
    assert camera.now == camera.controls.in_force() == {"ScalerCrops": [middle, middle]}
    assert camera.controls.in_force(still=True) == {"ScalerCrop": middle, "NoiseReductionMode": 2}
    camera.set(roi=None)
    assert camera.now == {"ScalerCrops": [(576, 0, 3456, 2592)] * 2}
    assert camera.controls.in_force() == {}


def test_a_lens_is_moved_by_hand_or_by_the_autofocus(camera: Camera) -> None:
    assert camera.control("autofocus_mode").value == "continuous"
    assert camera.set(lens_position=3) == {"lens_position": 3.0, "autofocus_mode": "manual"}
    assert camera.set(autofocus_mode="auto") == {"autofocus_mode": "auto", "lens_position": None}
    camera.set(lens_position=3)
    assert camera.set(lens_position=None) == {"lens_position": None, "autofocus_mode": "continuous"}
    assert camera.now["AfMode"] == 2
    camera.set(lens_position=3)
    assert camera.set(ev=0.5) == {"ev": 0.5}
    assert camera.set(lens_position=None, autofocus_mode="auto") == {"lens_position": None, "autofocus_mode": "auto"}
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
    camera.set(shutter=0)
    assert inactive() == set()
    camera.set(lens_position=2, gain=0)
    assert inactive() == {"autofocus_trigger", "autofocus_range", "autofocus_speed", "autofocus_window"}


def test_a_trigger_without_effect_is_refused(camera: Camera) -> None:
    report = camera.controls.set(1, {"autofocus_trigger": True})
    assert 'that is "continuous"' in report.refused["autofocus_trigger"]
    assert camera.now == {}
    report = camera.controls.set(1, {"autofocus_mode": None, "autofocus_trigger": True})
    assert 'that is "continuous"' in report.refused["autofocus_trigger"]


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


@pytest.mark.parametrize(
    ("limits", "control"),
    [
        ({"ExposureTime": (0, 500, 0)}, ("shutter", 1, 500, 0)),
        ({"ExposureTime": (26, 0, 0)}, ("shutter", 26, FRAME_US, 0)),
        ({"ExposureTime": (50_000, 60_000, 0)}, ("shutter", 50_000, 50_000, 0)),
        ({"ExposureTime": (0, 1, 0)}, ("shutter", 1, 1, 0)),
        ({"AeFlickerPeriod": (0, 900, None), "AeFlickerMode": (0, 1, 0)}, ("flicker_period", 1, 900, 0)),
        ({"Contrast": (0, 32, None)}, ("contrast", 0.0, 32.0, 0.0)),
        ({"LensPosition": (0, 15, 1)}, ("lens_position", 0.0, 15.0, None)),
    ],
)
def test_a_number_has_limits_of_the_camera_that_can_be_used(
    limits: dict[str, Any], control: tuple[str, float, float, float | None]
) -> None:
    [only] = Camera(limits).controls.controls
    assert (only.name, only.minimum, only.maximum, only.default) == control
    assert type(only.default) is (type(None) if control[3] is None else type(control[3]))


@pytest.mark.parametrize(
    ("limits", "default", "choices"),
    [
        ((1, 2, 1), "long", ("sport", "long")),
        ((0, 1, None), "normal", ("normal", "sport")),
        ((None, 2, 9), "normal", ("normal", "sport", "long")),
    ],
)
def test_a_choice_has_the_words_between_the_cameras_limits(
    limits: tuple[Any, Any, Any], default: str, choices: tuple[str, ...]
) -> None:
    [only] = Camera({"AeExposureMode": limits}).controls.controls
    wanted = "sport" if limits[2] == 1 else default
    assert (only.name, only.default, only.choices) == ("exposure", wanted, choices)


@pytest.mark.parametrize(
    "limits",
    [
        {"AeExposureMode": (0, 0, 0)},
        {"AeExposureMode": (7, 7, 7)},
        {"AeFlickerPeriod": (100, 1_000_000, None)},
        {"AeFlickerMode": (0, 1, 0)},
        {"AfMode": (0, 0, 0)},
        {"AfTrigger": (0, 1, 0)},
        {"ScalerCrop": ((0, 0, 0, 0), (0, 0, 4608, 0), (0, 0, 0, 0))},
        {"ScalerCrop": ((0, 0, 0, 0), (0, 0, 0, 2592), (0, 0, 0, 0))},
    ],
)
def test_what_leaves_nothing_to_choose_is_not_offered(limits: dict[str, Any]) -> None:
    assert Camera(limits).controls.controls == ()


@pytest.mark.parametrize("missing", ["AfWindows", "AfMetering"])
def test_a_focus_window_needs_both_of_its_controls(missing: str) -> None:
    names = {control.name for control in Camera({**CAMERA_MODULE_3, missing: None}).controls.controls}
    assert "autofocus_window" in names
    camera = Camera({name: limits for name, limits in CAMERA_MODULE_3.items() if name != missing})
    assert {control.name for control in camera.controls.controls} == names - {"autofocus_window"}


def test_a_control_has_its_group_unit_and_the_one_that_it_depends_on(camera: Camera) -> None:
    told = {control.name: (control.group, control.under, control.unit) for control in camera.controls.controls}
    assert told["shutter"] == (Group.EXPOSURE, "", "µs")
    assert told["awb"] == (Group.COLOUR, "", "")
    assert told["lens_position"] == (Group.FOCUS, "autofocus_mode", "dioptres")
    without = Camera({"LensPosition": CAMERA_MODULE_3["LensPosition"]})
    assert without.control("lens_position").under == ""
    assert without.set(lens_position=3) == {"lens_position": 3.0}


def test_a_still_has_the_best_noise_reduction_unless_another_is_set(camera: Camera) -> None:
    assert camera.controls.in_force(still=True) == {"NoiseReductionMode": 2}
    camera.set(denoise="off", ev=1)
    assert camera.controls.in_force(still=True) == {"NoiseReductionMode": 0, "ExposureValue": 1.0}
    poor = Camera({"NoiseReductionMode": (0, 1, 0)})
    poor.set(denoise=None)
    assert poor.controls.in_force(still=True) == {"NoiseReductionMode": 1}
    assert Camera({}).controls.in_force(still=True) == {}


def test_each_side_of_a_region_has_its_own_limit_and_place() -> None:
    whole = (8, 16, 3000, 1000)
    camera = Camera({**CAMERA_MODULE_3, "ScalerCrop": ((0, 0, 90, 20), whole, whole)})
    assert camera.control("roi").default == [0.0, 0.0, 1.0, 1.0]
    camera.set(roi=[0.5, 0.25, 0.001, 0.002])
    assert camera.now["ScalerCrop"] == (1508, 266, 90, 20)
    assert camera.set(roi=[0.25, 0.5, 0.333, 0.25]) == {"roi": [0.25, 0.5, 0.333, 0.25]}
    assert camera.now["ScalerCrop"] == (758, 516, 999, 250)
    assert camera.set(roi=[0, 0, 0.03334, 1]) == {"roi": [0.0, 0.0, 0.033333, 1.0]}
    camera.set(autofocus_window=[0.5, 0.25, 0.00001, 0.00001])
    assert camera.now["AfWindows"] == [(1508, 266, 1, 1)]
