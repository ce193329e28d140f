"""The camera as a device of Home Assistant: one message that describes it with all its entities.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload has the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pi_cam_daemon import __version__
from pi_cam_daemon.core.health import State
from pi_cam_daemon.ipc.controls import Control, Kind

ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"
PRESS = "PRESS"
NONE = "None"  # the value is the camera's own choice
_LEAST_STEP = 0.001  # Home Assistant accepts no smaller one
_NUMBER_STEP = 0.01
# as on the page; the other names speak for themselves
_NAMES = {
    "awb": "White balance",
    "ev": "Exposure compensation",
    "exposure": "Exposure profile",
    "shutter": "Exposure time",
    "hdr": "High dynamic range",
    "denoise": "Noise reduction",
    "autofocus_trigger": "Focus once",
}

Component = dict[str, Any]


@dataclass(frozen=True)
class Topics:
    """The topics of the camera, which all begin with *base*."""

    base: str

    @property
    def status(self) -> str:
        """Return the topic of "online" and "offline"."""
        return f"{self.base}/status"

    @property
    def state(self) -> str:
        return f"{self.base}/state"

    @property
    def rate(self) -> str:
        return f"{self.base}/rate"

    @property
    def motion(self) -> str:
        return f"{self.base}/motion"

    @property
    def picture(self) -> str:
        """Return the topic of the last event's picture."""
        return f"{self.base}/picture"

    @property
    def snapshot(self) -> str:
        """Return the topic of the command that makes an event with a picture of now."""
        return f"{self.base}/snapshot"

    def control(self, name: str) -> str:
        return f"{self.base}/controls/{name}"

    def command(self, name: str) -> str:
        """Return the topic of the command that sets the control *name*; "+" stands for all."""
        return f"{self.control(name)}/set"


def topic(identity: str) -> str:
    """Return the topic of the description."""
    return f"homeassistant/device/{identity}/config"


def description(
    identity: str, name: str, model: str, address: str, components: Mapping[str, Component]
) -> dict[str, Any]:
    """Return the description of the device *identity*, whose page is at *address*."""
    device = {
        "identifiers": [identity],
        "name": name,
        "manufacturer": "pi_cam_daemon",
        "model": model or "Camera",
        "sw_version": __version__,
        "configuration_url": address,
    }
    return {"device": device, "origin": {"name": "pi_cam_daemon", "sw_version": __version__}, "components": components}


def components(identity: str, topics: Topics, motion: bool, controls: Iterable[Control]) -> dict[str, Component]:
    """Return the entities by their keys. *motion*: the camera looks for motion."""
    available = {"availability_topic": topics.status}
    diagnostic = {"entity_category": "diagnostic"}
    found: dict[str, Component] = {
        "connectivity": {
            "platform": "binary_sensor",
            "name": "Connectivity",
            "device_class": "connectivity",
            "state_topic": topics.status,
            "payload_on": ONLINE,
            "payload_off": OFFLINE,
            **diagnostic,
        },
        "state": {
            "platform": "sensor",
            "name": "State",
            "device_class": "enum",
            "options": list(State),
            "state_topic": topics.state,
            **diagnostic,
            **available,
        },
        "rate": {
            "platform": "sensor",
            "name": "Rate",
            "state_topic": topics.rate,
            "unit_of_measurement": "frames/s",
            "state_class": "measurement",
            "suggested_display_precision": 1,
            **diagnostic,
            **available,
        },
        "picture": {
            "platform": "image",
            "name": "Last event",
            "image_topic": topics.picture,
            "content_type": "image/jpeg",
            **available,
        },
        "snapshot": {
            "platform": "button",
            "name": "Take a picture",
            "command_topic": topics.snapshot,
            "payload_press": PRESS,
            **available,
        },
    }
    if motion:
        found["motion"] = {
            "platform": "binary_sensor",
            "name": "Motion",
            "device_class": "motion",
            "state_topic": topics.motion,
            **available,
        }
    for control in controls:
        if entity := _entity(control):
            if control.kind is not Kind.ACTION:
                entity["state_topic"] = topics.control(control.name)
            name = _NAMES.get(control.name) or control.name.replace("_", " ").capitalize()
            command = {"name": name, "command_topic": topics.command(control.name), "entity_category": "config"}
            found[control_key(control.name)] = entity | command | available
    return {key: {**entity, "unique_id": f"{identity}_{key}"} for key, entity in found.items()}


def control_key(name: str) -> str:
    """Return the key of the entity of a control."""
    return f"control_{name}"


def _entity(control: Control) -> Component | None:
    """Return what is special about the entity of *control*; None if Home Assistant has no entity for it."""
    match control.kind:
        case Kind.ACTION:
            return {"platform": "button", "payload_press": PRESS}
        case Kind.BOOLEAN:
            return {"platform": "switch", "payload_on": ON, "payload_off": OFF}
        case Kind.CHOICE:
            return {"platform": "select", "options": list(control.choices)}
        case Kind.NUMBER | Kind.INTEGER if control.minimum is not None and control.maximum is not None:
            low = min(control.minimum, 0) if control.zero else control.minimum
            if low >= control.maximum:  # Home Assistant would refuse it
                return None
            step = control.step or (1 if control.kind is Kind.INTEGER else _NUMBER_STEP)
            unit = {"unit_of_measurement": control.unit} if control.unit else {}
            return {"platform": "number", "min": low, "max": control.maximum, "step": max(step, _LEAST_STEP), **unit}
    return None


def shown(control: Control) -> str:
    """Return the value of *control* as its entity shows it."""
    if control.value is None:
        return NONE
    if control.kind is Kind.BOOLEAN:
        return ON if control.value else OFF
    return str(control.value)
