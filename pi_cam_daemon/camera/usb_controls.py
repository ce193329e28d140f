"""Controls of a USB camera, under the names that `v4l2-ctl --list-ctrls` shows."""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Mapping

import videodev2 as api

from pi_cam_daemon.camera import v4l2
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.ipc.controls import Control, Kind, check
from pi_cam_daemon.ipc.messages import Report

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
            v4l2.set_control(self._fd, control, _number(control, value))
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise
            raise ValueError(f"The camera refuses it: {error.strerror}") from None

    def _listed(self) -> dict[str, v4l2.Control]:
        usable = (
            control
            for control in v4l2.controls(self._fd)
            if control.type in _KINDS
            and not control.flags & (_UNUSABLE_BUTTON if _KINDS[control.type] is Kind.ACTION else _UNUSABLE)
        )
        return {_name(control): control for control in itertools.islice(usable, _MOST_CONTROLS)}

    def _controls(self, listed: Mapping[str, v4l2.Control]) -> tuple[Control, ...]:
        found = []
        for name, control in listed.items():
            kind = _KINDS[control.type]
            try:
                now = None if kind is Kind.ACTION else v4l2.get_control(self._fd, control)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    raise
                continue  # some firmware lists controls that cannot be read
            found.append(_described(name, kind, control, now))
        return tuple(found)


def _name(control: v4l2.Control) -> str:
    return re.sub(r"[^a-z0-9]+", "_", control.name.lower()).strip("_")


def _described(name: str, kind: Kind, control: v4l2.Control, now: int | None) -> Control:
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


def _number(control: v4l2.Control, value: Value) -> int:
    """Return the kernel's number for *value*."""
    if value is None:
        return control.default
    if isinstance(value, str):
        return next(number for number, text in control.menu.items() if text == value)
    assert isinstance(value, int)
    return int(value)
