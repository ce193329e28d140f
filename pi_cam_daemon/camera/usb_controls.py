"""The controls of a USB camera, under V4L2's own names, written as `v4l2-ctl --list-ctrls` writes them."""

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
_HIDDEN = api.V4L2_CTRL_FLAG_DISABLED | api.V4L2_CTRL_FLAG_READ_ONLY | api.V4L2_CTRL_FLAG_WRITE_ONLY
_LOCKED = api.V4L2_CTRL_FLAG_INACTIVE | api.V4L2_CTRL_FLAG_GRABBED
# far beyond any camera; all of them have to fit into one message
_MOST_CONTROLS = 48
_MOST_CHOICES = 24


class UsbControls:
    """What the camera behind *fd* lets people set. OSError that is about the camera, not about a value, passes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def set(self, number: int, wanted: Mapping[str, object]) -> Report:
        """Set what is *wanted*, one after the other as V4L2 has it: what is refused does not keep the rest from it."""
        listed = self._listed()
        # switches come first: they decide whether the numbers behind them have any effect
        order = {name: control.type == api.V4L2_CTRL_TYPE_INTEGER for name, control in listed.items()}
        taken, wrong = check(self._controls(listed), wanted)
        for name in sorted(taken, key=order.__getitem__):
            try:
                self._set(name, taken[name])
            except ValueError as error:
                wrong[name] = str(error)
        controls = self._controls(self._listed())
        values = {control.name: control.value for control in controls}
        # what the driver made of it
        applied = {name: values.get(name, taken[name]) for name in taken if name not in wrong}
        return Report(number, applied, wrong, controls)

    def _set(self, name: str, value: Value) -> None:
        control = self._listed().get(name)  # anew: the one before may have changed it
        if control is None:
            raise ValueError("It went away")
        if control.flags & _LOCKED:
            raise ValueError("It has no effect now: another control decides it, most likely an automatic one")
        try:
            v4l2.set_control(self._fd, control, _number(control, value))
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise
            raise ValueError(f"The camera refuses it: {error.strerror}") from None

    def _listed(self) -> dict[str, v4l2.Control]:
        every = v4l2.controls(self._fd)
        usable = (control for control in every if control.type in _KINDS and not _is_hidden(control))
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
                continue  # listed, and not to be read: firmware has such things
            found.append(_described(name, kind, control, now))
        return tuple(found)


def _is_hidden(control: v4l2.Control) -> bool:
    if control.type == api.V4L2_CTRL_TYPE_BUTTON:  # those can only be written
        return bool(control.flags & api.V4L2_CTRL_FLAG_DISABLED)
    return bool(control.flags & _HIDDEN)


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
    """What the kernel is told for *value*."""
    if value is None:
        return control.default
    if isinstance(value, str):
        return next(number for number, text in control.menu.items() if text == value)
    assert isinstance(value, int)
    return int(value)
