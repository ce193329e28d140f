"""Controls as libcamera gets them: at the start, with a request, and after a still."""

from __future__ import annotations

import math
from typing import Any

import pytest
from virtual_pi import AUTO_EXPOSURE_US, AUTO_GAIN, PiCamera

from tests.kit.wait import until
from tests.picamera.pi import IMX219, IMX708, running, source


def test_controls_are_set_at_the_start_and_live_and_each_order_is_answered(imx708: PiCamera) -> None:
    settings = {"saturation": 0.0, "lens_position": 40.0}
    with running(source(IMX708, settings=settings, framerate=40.0)) as recorder:
        recorder.wait_for(1)
        first = recorder.reports[0]
        assert (first.number, first.applied) == (0, {"saturation": 0.0})
        assert "accepted: a number from 0.0 to 15.0" in first.refused["lens_position"]
        assert imx708.starts[-1]["Saturation"] == 0.0
        bright = recorder.set(brightness=0.5)
        assert (bright.number, bright.applied, bright.refused) == (1, {"brightness": 0.5}, {})
        until("libcamera has it", lambda: imx708.values.get("Brightness") == 0.5)
        refused = recorder.set(contrast=99.0)
        assert (refused.number, refused.applied, list(refused.refused)) == (2, {}, ["contrast"])
        last = recorder.set(brightness=None)
        assert (last.number, last.applied) == (3, {"brightness": 0.0})
        until("libcamera has it", lambda: imx708.values.get("Brightness") == 0.0)
        recorder.wait_for_more()
    shutter = next(control for control in first.controls if control.name == "shutter")
    assert shutter.maximum == 25_000, "the frame of 40 frames a second"


def test_an_exposure_lasts_no_longer_than_the_frame_that_is_given() -> None:
    with running(source(framerate=200.0)) as recorder:
        recorder.wait_for(1)
    shutter = next(control for control in recorder.reports[0].controls if control.name == "shutter")
    assert shutter.maximum == 9_677


def test_a_camera_without_a_lens_that_moves_offers_no_focus() -> None:
    with running(source(IMX219)) as recorder:
        recorder.wait_for(1)
        answer = recorder.set(lens_position=1.0)
    names = {control.name for control in answer.controls}
    assert "shutter" in names and not names & {"lens_position", "autofocus_mode", "autofocus_trigger"}
    assert "no such control" in answer.refused["lens_position"]


def test_a_camera_without_controls_offers_none_and_an_order_for_one_does_not_stop_it(imx219: PiCamera) -> None:
    imx219.controls = {}
    with running(source()) as recorder:
        recorder.wait_for(1)
        answer = recorder.set(brightness=0.5)
        recorder.wait_for_more(3)
    first = recorder.reports[0]
    assert (first.number, first.controls, first.refused) == (0, (), {})
    assert "no such control" in answer.refused["brightness"]


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ({"shutter": 10_000}, {"ExposureTime": 10_000, "ExposureTimeMode": 1}),
        ({"gain": 4.0}, {"AnalogueGain": 4.0, "AnalogueGainMode": 1}),
        ({"roi": [0.25, 0.5, 0.5, 0.5]}, {"ScalerCrop": (820, 1232, 1640, 1232)}),
        ({"denoise": "off"}, {"NoiseReductionMode": 0}),
    ],
)
def test_libcamera_gets_what_was_set(imx219: PiCamera, values: dict[str, Any], given: dict[str, Any]) -> None:
    def there() -> bool:
        held = dict(imx219.values)
        if "ScalerCrop" in held:
            held["ScalerCrop"] = held["ScalerCrop"].to_tuple()
        return given.items() <= held.items()

    with running(source()) as recorder:
        recorder.wait_for(1)
        assert recorder.set(**values).refused == {}
        until(f"libcamera has {given}", there)


def test_a_shutter_given_back_before_the_next_frame_is_automatic(imx219: PiCamera) -> None:
    with running(source(framerate=2.0)) as recorder:
        recorder.wait_for(1)
        recorder.set(shutter=10_000, gain=4.0)
        recorder.set(shutter=None, gain=None)
        recorder.wait_for_more(6)
        metadata = imx219.metadata()
        assert (metadata["ExposureTime"], metadata["AnalogueGain"]) == (AUTO_EXPOSURE_US, AUTO_GAIN)


def test_a_region_that_is_no_number_is_refused_and_the_camera_runs_on() -> None:
    with running(source()) as recorder:
        recorder.wait_for(1)
        assert "cannot be used" in recorder.set(roi=[0, math.nan, 0.5, 0.5]).refused["roi"]
        recorder.wait_for_more()
