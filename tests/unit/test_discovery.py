"""The description of the camera for Home Assistant, for every kind of control."""

from __future__ import annotations

import pytest

from pi_cam_daemon.ipc.controls import Control, Kind
from pi_cam_daemon.mqtt import discovery
from pi_cam_daemon.mqtt.discovery import Component, Topics

TOPICS = Topics("home/yard")
OWN = {"unique_id", "command_topic", "state_topic", "availability_topic", "entity_category"}


def entity(control: Control) -> Component | None:
    """Return what the description says about *control* alone, besides what all controls have."""
    found = discovery.components("yard", TOPICS, False, [control]).get(f"control_{control.name}")
    if found is None:
        return None
    assert found["unique_id"] == f"yard_control_{control.name}" and found["entity_category"] == "config"
    assert found["command_topic"] == f"home/yard/controls/{control.name}/set"
    assert found["availability_topic"] == "home/yard/status"
    state = None if control.kind is Kind.ACTION else f"home/yard/controls/{control.name}"
    assert found.get("state_topic") == state
    return {key: value for key, value in found.items() if key not in OWN}


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (
            Control("gain", Kind.NUMBER, minimum=1, maximum=16, zero="automatic"),
            {"platform": "number", "name": "Gain", "min": 0, "max": 16, "step": 0.01},
        ),
        (
            Control("shutter", Kind.INTEGER, minimum=26, maximum=40_000, unit="µs"),
            {"platform": "number", "name": "Exposure time", "min": 26, "max": 40_000, "step": 1}
            | {"unit_of_measurement": "µs"},
        ),
        (
            Control("focus", Kind.NUMBER, minimum=0, maximum=1, step=0.0001),
            {"platform": "number", "name": "Focus", "min": 0, "max": 1, "step": 0.001},
        ),
        (
            Control("awb", Kind.CHOICE, choices=("auto", "indoor")),
            {"platform": "select", "name": "White balance", "options": ["auto", "indoor"]},
        ),
        (
            Control("backlight_light", Kind.BOOLEAN),
            {"platform": "switch", "name": "Backlight light", "payload_on": "ON", "payload_off": "OFF"},
        ),
        (
            Control("autofocus_trigger", Kind.ACTION),
            {"platform": "button", "name": "Focus once", "payload_press": "PRESS"},
        ),
        # what Home Assistant has no entity for, or would refuse
        (Control("roi", Kind.RECTANGLE), None),
        (Control("fixed", Kind.INTEGER, minimum=3, maximum=3), None),
    ],
)
def test_each_kind_of_control_has_its_entity(control: Control, expected: Component | None) -> None:
    assert entity(control) == expected


@pytest.mark.parametrize(
    ("control", "text"),
    [
        (Control("a", Kind.NUMBER, value=0.25), "0.25"),
        (Control("a", Kind.INTEGER, value=0), "0"),
        (Control("a", Kind.BOOLEAN, value=True), "ON"),
        (Control("a", Kind.BOOLEAN, value=False), "OFF"),
        (Control("a", Kind.CHOICE, value="auto"), "auto"),
        (Control("a", Kind.NUMBER), "None"),
    ],
)
def test_a_value_is_shown_as_its_entity_takes_it(control: Control, text: str) -> None:
    assert discovery.shown(control) == text


def test_motion_is_there_only_where_the_camera_looks_for_it() -> None:
    with_motion, without = (discovery.components("yard", TOPICS, motion, []) for motion in (True, False))
    assert with_motion.keys() - without.keys() == {"motion"}
    assert with_motion["motion"]["state_topic"] == "home/yard/motion"
    unavailable = [key for key, one in with_motion.items() if one.get("availability_topic") != "home/yard/status"]
    assert unavailable == ["connectivity"], "it shows itself that the camera is gone"
