"""The model of controls: accepted values, and the errors for others."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_cam_daemon.errors import ProtocolError
from pi_cam_daemon.ipc.controls import Control, Kind, check
from pi_cam_daemon.ipc.messages import Report, SetControls
from pi_cam_daemon.server import live_controls
from pi_cam_daemon.server.refused import Refused

BRIGHTNESS = Control("brightness", Kind.NUMBER, 0.0, 0.5, -1.0, 1.0)
SHUTTER = Control("shutter", Kind.INTEGER, 0, 0, 26, 40_000, zero="automatic", unit="µs")
MIRROR = Control("mirror", Kind.BOOLEAN, False, True)
AWB = Control("awb", Kind.CHOICE, "auto", "auto", choices=("auto", "cloudy"))
ROI = Control("roi", Kind.RECTANGLE)
TRIGGER = Control("trigger", Kind.ACTION)
EVERY = (BRIGHTNESS, SHUTTER, MIRROR, AWB, ROI, TRIGGER)


@pytest.mark.parametrize(
    ("control", "raw", "kept"),
    [
        (BRIGHTNESS, 1, 1.0),
        (BRIGHTNESS, -1.0, -1.0),
        (BRIGHTNESS, None, None),
        (SHUTTER, 0, 0),
        (SHUTTER, 26, 26),
        (SHUTTER, 40_000, 40_000),
        (MIRROR, False, False),
        (AWB, "cloudy", "cloudy"),
        (AWB, None, None),
        (ROI, [0, 0, 1, 1], [0, 0, 1, 1]),
        (ROI, [0.7, 0.1, 0.3, 0.9], [0.7, 0.1, 0.3, 0.9]),
        (ROI, None, None),
        (TRIGGER, True, True),
    ],
)
def test_a_value_within_the_limits_is_accepted(control: Control, raw: object, kept: object) -> None:
    value = control.check(raw)
    assert value == kept and type(value) is type(kept)


@pytest.mark.parametrize(
    ("control", "raw", "told"),
    [
        (BRIGHTNESS, 1.01, "1.01 cannot be used; accepted: a number from -1.0 to 1.0, or null for the default"),
        (BRIGHTNESS, float("nan"), "nan cannot be used"),
        (BRIGHTNESS, "0.5", '"0.5" cannot be used'),
        (BRIGHTNESS, True, "true cannot be used"),
        (SHUTTER, 25, "0 (automatic) or an integer from 26 to 40000 µs, or null for the default"),
        (SHUTTER, 100.5, "100.5 cannot be used"),
        (SHUTTER, False, "false cannot be used"),
        (MIRROR, 1, "accepted: true or false"),
        (AWB, "Cloudy", '"Cloudy" cannot be used; accepted: "auto" or "cloudy", or null for the default'),
        (AWB, ["auto"], "cannot be used"),
        (ROI, [0, 0, 1.1, 1], "accepted: [x, y, width, height] in fractions of the whole"),
        (ROI, [0.5, 0, 0.6, 1], "cannot be used"),
        (ROI, [0, 0, 0, 1], "cannot be used"),
        (ROI, [-0.1, 0, 1, 1], "cannot be used"),
        (ROI, [0, 0, 1], "cannot be used"),
        *((ROI, [math.nan if i == at else 0.5 for i in range(4)], "cannot be used") for at in range(4)),
        (ROI, [0, -math.inf, 0.5, 0.5], "cannot be used"),
        (ROI, [0, 0, True, 1], "cannot be used"),
        (ROI, {"x": 1}, "cannot be used"),
        (TRIGGER, False, "false cannot be used; accepted: true"),
        (TRIGGER, None, "accepted: true"),
    ],
)
def test_a_value_outside_is_refused_with_the_accepted_values(control: Control, raw: object, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        control.check(raw)
    assert told in str(refused.value)


def test_each_key_is_checked_alone() -> None:
    taken, wrong = check(EVERY, {"brightness": 0.25, "awb": "pink", "brighness": 1, "zzz": 2, "mirror": "true"})
    assert taken == {"brightness": 0.25}
    assert wrong["mirror"].endswith("; write true without quotes")
    assert wrong["awb"].startswith('"pink" cannot be used')
    assert wrong["brighness"] == "This camera has no such control; did you mean brightness?"
    assert "accepted: brightness, shutter, mirror, awb, roi, trigger" in wrong["zzz"]


def test_only_the_first_mistakes_get_a_guess_and_none_a_long_text() -> None:
    wrong = check(EVERY, {f"brighness{number}": 1 for number in range(10)})[1]
    assert [text.endswith("; did you mean brightness?") for text in wrong.values()] == [True] * 4 + [False] * 6
    assert wrong["brighness9"] == "This camera has no such control"
    wrong = check(EVERY, {"brightness" * 30: 1, "mirror": "true" * 3000, "roi": "[0, 0, 1, 1]" + " " * 100})[1]
    assert wrong["brightnessbrightnessbrightnessbrightnessbrightnessbrightn..."].startswith("This camera has no such")
    assert wrong["mirror"].startswith("a text of 12000 characters cannot be used; accepted: true or false")
    assert wrong["roi"].endswith("or null for the default")


def test_a_body_with_more_names_than_any_camera_has_is_refused() -> None:
    names = [f"name{number}" for number in range(65)]
    assert len(live_controls.parse(json.dumps(dict.fromkeys(names[:64])).encode())) == 64
    with pytest.raises(Refused, match="64 names at most") as refused:
        live_controls.parse(json.dumps(dict.fromkeys(names)).encode())
    assert refused.value.status == 400


def test_an_integer_that_is_too_large_for_a_float_is_refused() -> None:
    for side in range(4):
        raw = [10**400 if at == side else 0.5 for at in range(4)]
        with pytest.raises(ValueError, match="a number with too many digits"):
            ROI.check(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(EVERY), JSON)
def test_any_input_is_accepted_or_reported_on_one_line(control: Control, raw: Any) -> None:
    taken, wrong = check([control], {control.name: raw})
    assert len(taken) + len(wrong) == 1
    assert all("\n" not in text and len(text) < 400 for text in wrong.values())


def test_reports_and_orders_survive_the_protocol() -> None:
    report = Report(3, {"roi": [0.0, 0.0, 0.5, 0.5], "awb": "auto"}, {"shutter": "refused"}, EVERY)
    assert Report.from_json(report.to_json()) == report
    order = SetControls(7, {"brightness": None, "trigger": True})
    assert SetControls.from_json(order.to_json()) == order


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"number": 1, "applied": {}, "refused": {}, "controls": [{"kind": "colour"}]}',
        "nonsense",
        '{"number": 1e999, "applied": {}, "refused": {}, "controls": []}',
    ],
)
def test_an_invalid_report_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        Report.from_json(text.encode())


def test_the_longest_report_that_a_camera_can_give_fits_into_a_message() -> None:
    from pi_cam_daemon.camera import usb_controls
    from pi_cam_daemon.ipc.protocol import LONGEST_OTHER

    choices = tuple("\ufffd" * 31 for _ in range(usb_controls._MOST_CHOICES))
    control = Control(
        "x" * 40, Kind.CHOICE, choices[0], choices[0], -(2**31), 2**31, 2**31, choices, inactive=True, under="x" * 40
    )
    names = [f"{number:040}" for number in range(usb_controls._MOST_CONTROLS)]
    report = Report(2**31, dict.fromkeys(names, choices[0]), {}, (control,) * len(names))
    assert len(report.to_json()) < LONGEST_OTHER
    assert json.loads(report.to_json())


@pytest.mark.parametrize(
    ("number", "group"),
    [
        ("V4L2_CID_BRIGHTNESS", "image"),
        ("V4L2_CID_HUE", "colour"),
        ("V4L2_CID_GAIN", "exposure"),
        ("V4L2_CID_EXPOSURE_AUTO", "exposure"),
        ("V4L2_CID_3A_LOCK", "exposure"),
        ("V4L2_CID_FOCUS_AUTO", "focus"),
        ("V4L2_CID_ZOOM_ABSOLUTE", "framing"),
        ("V4L2_CID_IMAGE_STABILIZATION", "image"),
        ("V4L2_CID_TEST_PATTERN", "image"),
    ],
)
def test_a_v4l2_control_is_grouped_by_its_id_or_its_class(number: str, group: str) -> None:
    import videodev2

    from pi_cam_daemon.camera import usb_controls

    assert usb_controls.group(getattr(videodev2, number)) == group
    assert usb_controls.group(0x9A1901) == "image", "a driver's own"
