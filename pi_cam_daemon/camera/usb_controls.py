"""Controls of a USB camera, under the names that `v4l2-ctl --list-ctrls` shows."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import re
from collections.abc import Mapping

import videodev2 as api

from pi_cam_daemon.camera import v4l2_device
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.ipc.controls import Control, Group, Kind, check
from pi_cam_daemon.ipc.messages import Report

_CLASS, _OWN = 0x0FFF0000, 0x1000  # parts of an id: the class, and the mark of a driver's own control
_KINDS = {
    api.V4L2_CTRL_TYPE_INTEGER: Kind.INTEGER,
    api.V4L2_CTRL_TYPE_BOOLEAN: Kind.BOOLEAN,
    api.V4L2_CTRL_TYPE_MENU: Kind.CHOICE,
    api.V4L2_CTRL_TYPE_INTEGER_MENU: Kind.CHOICE,
    api.V4L2_CTRL_TYPE_BUTTON: Kind.ACTION,
}
_UNUSABLE = api.V4L2_CTRL_FLAG_DISABLED | api.V4L2_CTRL_FLAG_READ_ONLY | api.V4L2_CTRL_FLAG_WRITE_ONLY
_UNUSABLE_BUTTON = api.V4L2_CTRL_FLAG_DISABLED  # buttons are always write-only
_LOCKED = api.V4L2_CTRL_FLAG_INACTIVE | api.V4L2_CTRL_FLAG_GRABBED
_EXPOSURE = {
    api.V4L2_CID_EXPOSURE, api.V4L2_CID_AUTOGAIN, api.V4L2_CID_GAIN, api.V4L2_CID_POWER_LINE_FREQUENCY,
    api.V4L2_CID_BACKLIGHT_COMPENSATION, api.V4L2_CID_BAND_STOP_FILTER, api.V4L2_CID_ANALOGUE_GAIN,
}  # fmt: skip
_COLOUR = {
    api.V4L2_CID_SATURATION, api.V4L2_CID_HUE, api.V4L2_CID_HUE_AUTO, api.V4L2_CID_AUTO_WHITE_BALANCE,
    api.V4L2_CID_DO_WHITE_BALANCE, api.V4L2_CID_RED_BALANCE, api.V4L2_CID_BLUE_BALANCE,
    api.V4L2_CID_WHITE_BALANCE_TEMPERATURE, api.V4L2_CID_AUTO_N_PRESET_WHITE_BALANCE, api.V4L2_CID_CHROMA_AGC,
    api.V4L2_CID_CHROMA_GAIN, api.V4L2_CID_COLOR_KILLER, api.V4L2_CID_COLORFX, api.V4L2_CID_COLORFX_CBCR,
    api.V4L2_CID_COLORFX_RGB,
}  # fmt: skip
_FOCUS = {
    api.V4L2_CID_FOCUS_AUTO, api.V4L2_CID_FOCUS_ABSOLUTE, api.V4L2_CID_FOCUS_RELATIVE, api.V4L2_CID_AUTO_FOCUS_START,
    api.V4L2_CID_AUTO_FOCUS_STOP, api.V4L2_CID_AUTO_FOCUS_RANGE,
}  # fmt: skip
_FRAMING = {
    api.V4L2_CID_HFLIP, api.V4L2_CID_VFLIP, api.V4L2_CID_ROTATE, api.V4L2_CID_PAN_RELATIVE, api.V4L2_CID_TILT_RELATIVE,
    api.V4L2_CID_PAN_RESET, api.V4L2_CID_TILT_RESET, api.V4L2_CID_PAN_ABSOLUTE, api.V4L2_CID_TILT_ABSOLUTE,
    api.V4L2_CID_PAN_SPEED, api.V4L2_CID_TILT_SPEED, api.V4L2_CID_ZOOM_ABSOLUTE, api.V4L2_CID_ZOOM_RELATIVE,
    api.V4L2_CID_ZOOM_CONTINUOUS, api.V4L2_CID_PRIVACY,
}  # fmt: skip
# of the camera class; the rest of it is about exposure
_CAMERA_IMAGE = {api.V4L2_CID_IMAGE_STABILIZATION}
# The kernel tells that an automatic control makes others inactive, but not which one does.
_UNDER = {
    api.V4L2_CID_EXPOSURE_ABSOLUTE: api.V4L2_CID_EXPOSURE_AUTO,
    api.V4L2_CID_EXPOSURE_AUTO_PRIORITY: api.V4L2_CID_EXPOSURE_AUTO,
    api.V4L2_CID_AUTO_EXPOSURE_BIAS: api.V4L2_CID_EXPOSURE_AUTO,
    api.V4L2_CID_GAIN: api.V4L2_CID_AUTOGAIN,
    api.V4L2_CID_ISO_SENSITIVITY: api.V4L2_CID_ISO_SENSITIVITY_AUTO,
    api.V4L2_CID_WHITE_BALANCE_TEMPERATURE: api.V4L2_CID_AUTO_WHITE_BALANCE,
    api.V4L2_CID_RED_BALANCE: api.V4L2_CID_AUTO_WHITE_BALANCE,
    api.V4L2_CID_BLUE_BALANCE: api.V4L2_CID_AUTO_WHITE_BALANCE,
    api.V4L2_CID_HUE: api.V4L2_CID_HUE_AUTO,
    api.V4L2_CID_BRIGHTNESS: api.V4L2_CID_AUTOBRIGHTNESS,
    api.V4L2_CID_FOCUS_ABSOLUTE: api.V4L2_CID_FOCUS_AUTO,
    api.V4L2_CID_FOCUS_RELATIVE: api.V4L2_CID_FOCUS_AUTO,
}
# More than any camera has. All of them have to fit into one message.
_MOST_CONTROLS = 48
_MOST_CHOICES = 24


class UsbControls:
    """Lists and sets the controls of the open camera *fd*. Raises OSError if the camera itself fails."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def set(self, number: int, wanted: Mapping[str, object]) -> Report:
        """Set the values *wanted*, one by one; one that is refused does not affect the others."""
        listed = self._listed()
        # switches first: they decide which numbers have an effect
        order = {name: control.type == api.V4L2_CTRL_TYPE_INTEGER for name, control in listed.items()}
        taken, wrong = check(self._controls(listed), wanted)
        for name in sorted(taken, key=order.__getitem__):
            try:
                self._set(name, taken[name])
            except ValueError as error:
                wrong[name] = str(error)
        controls = self._controls(self._listed())
        values = {control.name: control.value for control in controls}
        # the values that the driver really set
        applied = {name: values.get(name, taken[name]) for name in taken if name not in wrong}
        return Report(number, applied, wrong, controls)

    def _set(self, name: str, value: Value) -> None:
        control = self._listed().get(name)  # listed again: setting the control before may have changed it
        if control is None:
            raise ValueError("The camera does not have it any more")
        if control.flags & _LOCKED:
            raise ValueError("It has no effect now: another control decides it, most likely an automatic one")
        try:
            v4l2_device.set_control(self._fd, control, _number(control, value))
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise
            raise ValueError(f"The camera refuses it: {error.strerror}") from None

    def _listed(self) -> dict[str, v4l2_device.Control]:
        usable = (
            control
            for control in v4l2_device.controls(self._fd)
            if control.type in _KINDS
            and not control.flags & (_UNUSABLE_BUTTON if _KINDS[control.type] is Kind.ACTION else _UNUSABLE)
        )
        return {_name(control): control for control in itertools.islice(usable, _MOST_CONTROLS)}

    def _controls(self, listed: Mapping[str, v4l2_device.Control]) -> tuple[Control, ...]:
        found = []
        names = {control.id: name for name, control in listed.items()}
        for name, control in listed.items():
            kind = _KINDS[control.type]
            try:
                now = None if kind is Kind.ACTION else v4l2_device.get_control(self._fd, control)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    raise
                continue  # some firmware lists controls that cannot be read
            shown = _described(name, kind, control, now)
            under = names.get(_UNDER.get(control.id, 0), "")
            found.append(dataclasses.replace(shown, group=group(control.id), under=under))
        return tuple(found)


def group(number: int) -> Group:
    """Return the group of the V4L2 control with the id *number*: by the id, or else by its class."""
    for one, numbers in (
        (Group.EXPOSURE, _EXPOSURE), (Group.COLOUR, _COLOUR), (Group.IMAGE, _CAMERA_IMAGE), (Group.FOCUS, _FOCUS),
        (Group.FRAMING, _FRAMING),
    ):  # fmt: skip
        if number in numbers:
            return one
    return Group.EXPOSURE if number & _CLASS == api.V4L2_CTRL_CLASS_CAMERA and number & _OWN == 0 else Group.IMAGE


def _name(control: v4l2_device.Control) -> str:
    return re.sub(r"[^a-z0-9]+", "_", control.name.lower()).strip("_")


def _described(name: str, kind: Kind, control: v4l2_device.Control, now: int | None) -> Control:
    inactive = bool(control.flags & _LOCKED)
    if kind is Kind.ACTION:
        return Control(name, kind, inactive=inactive)
    if kind is Kind.BOOLEAN:
        return Control(name, kind, bool(control.default), bool(now), inactive=inactive)
    if kind is Kind.CHOICE:
        default, value = control.menu.get(control.default), control.menu.get(now or 0)
        choices = tuple(control.menu.values())[:_MOST_CHOICES]
        return Control(name, kind, default, value, choices=choices, inactive=inactive)
    return Control(name, kind, control.default, now, control.minimum, control.maximum, control.step, inactive=inactive)


def _number(control: v4l2_device.Control, value: Value) -> int:
    """Return the kernel's number for *value*."""
    if value is None:
        return control.default
    if isinstance(value, str):
        return next(number for number, text in control.menu.items() if text == value)
    assert isinstance(value, int)
    return int(value)
