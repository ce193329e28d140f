"""Description of a V4L2 device: its kind, its formats and sizes, its controls. Every function raises OSError."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import videodev2 as api

from pi_cam_daemon.camera.v4l2 import opened

_CAPTURES = api.V4L2_CAP_VIDEO_CAPTURE | api.V4L2_CAP_STREAMING
_IO_MC = 0x20000000  # V4L2_CAP_IO_MC: the node works only in a pipeline that libcamera sets up; videodev2 lacks it
# Drivers and buses of a Pi: the legacy camera, the codecs, unicam and rp1-cfe (CSI), the image processors.
_BOARD = re.compile(r"bc?m2835|unicam|rp1|pisp|rpi|hevc|\.csi", re.IGNORECASE)
# More than any camera has. Faulty firmware may list entries without end.
_MOST_FORMATS = 64
_MOST_CONTROLS = 256

_VIDIOC_ENUM_FRAMESIZES = 0xC02C564A  # videodev2 lacks it


class _FrameSize(ctypes.Structure):
    """struct v4l2_frmsizeenum. *numbers* are width and height, or minimum, maximum and step of each."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("index", "pixel_format", "type")),
        ("numbers", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    )


@dataclass(frozen=True)
class Device:
    """Description of a device node. *captures* is True for a camera; *pixel_formats* are four-character codes.

    *planes* is True for a camera that has only the multi-planar API, which is not supported here. *part_of_board* is
    True for the Pi's own codecs, image processors and CSI receivers, which libcamera uses.
    """

    name: str
    bus: str
    captures: bool
    planes: bool
    part_of_board: bool
    pixel_formats: tuple[str, ...]

    @property
    def on_usb(self) -> bool:
        return self.bus.startswith("usb")


def device(node: Path) -> Device:
    """Return the description of the device at *node*."""
    with opened(node) as fd:
        return describe(fd)


def describe(fd: int) -> Device:
    """Return the description of an open device."""
    capability = api.v4l2_capability()
    fcntl.ioctl(fd, api.VIDIOC_QUERYCAP, capability)
    # not `capabilities`, which covers all nodes of a device: a webcam's metadata node has capture there too
    kinds = capability.device_caps
    captures = kinds & _CAPTURES == _CAPTURES
    driver, name, bus = _text(capability.driver), _text(capability.card), _text(capability.bus_info)
    return Device(
        name,
        bus,
        captures,
        planes=bool(kinds & api.V4L2_CAP_VIDEO_CAPTURE_MPLANE),
        part_of_board=not bus.startswith("usb") and bool(kinds & _IO_MC or _BOARD.search(f"{driver} {bus}")),
        pixel_formats=tuple(pixel_formats(fd)) if captures else (),
    )


def pixel_formats(fd: int) -> list[str]:
    """Return the pixel formats of a camera as four-character codes, in the camera's order."""
    found: list[str] = []
    while len(found) < _MOST_FORMATS:
        entry = api.v4l2_fmtdesc(index=len(found), type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE)
        try:
            fcntl.ioctl(fd, api.VIDIOC_ENUM_FMT, entry)
        except OSError as error:
            if error.errno == errno.EINVAL:  # the end of the list
                break
            raise
        found.append(entry.pixelformat.to_bytes(4, "little").decode("latin-1"))
    return found


def largest_size(fd: int, pixel_format: str, most_pixels: int) -> tuple[int, int]:
    """Return the largest (width, height) of at most *most_pixels* listed for *pixel_format*; (0, 0) if none is."""
    found = [(0, 0)]
    for index in range(_MOST_FORMATS):
        entry = _FrameSize(index=index, pixel_format=int.from_bytes(pixel_format.encode(), "little"))
        if not _has(fd, _VIDIOC_ENUM_FRAMESIZES, entry):
            break
        if entry.type != api.V4L2_FRMSIZE_TYPE_DISCRETE:
            found.append((entry.numbers[1], entry.numbers[4]))
            break
        found.append((entry.numbers[0], entry.numbers[1]))
    return max((size for size in found if size[0] * size[1] <= most_pixels), key=lambda size: size[0] * size[1])


@dataclass(frozen=True)
class Control:
    """A control as the driver lists it. *type* is a V4L2_CTRL_TYPE_*, *flags* are V4L2_CTRL_FLAG_*.

    *menu* maps the numbers that can be chosen to their names.
    """

    id: int
    name: str
    type: int
    flags: int
    minimum: int
    maximum: int
    step: int
    default: int
    menu: dict[int, str]


def controls(fd: int) -> Iterator[Control]:
    """Yield the controls of a camera, sorted by id."""
    last = 0
    for _ in range(_MOST_CONTROLS):
        entry = api.v4l2_queryctrl(id=last | api.V4L2_CTRL_FLAG_NEXT_CTRL)
        if not _has(fd, api.VIDIOC_QUERYCTRL, entry) or entry.id <= last:
            break
        last = entry.id
        menu = _menu(fd, entry) if entry.type in (api.V4L2_CTRL_TYPE_MENU, api.V4L2_CTRL_TYPE_INTEGER_MENU) else {}
        numbers = entry.minimum, entry.maximum, entry.step, entry.default_value
        yield Control(entry.id, _text(entry.name), entry.type, entry.flags, *numbers, menu)


def _menu(fd: int, control: Any) -> dict[int, str]:
    found: dict[int, str] = {}
    for index in range(control.minimum, min(control.maximum, control.minimum + _MOST_FORMATS) + 1):
        entry = api.v4l2_querymenu(id=control.id, index=index)
        if _has(fd, api.VIDIOC_QUERYMENU, entry):  # numbers may be missing in the range
            found[index] = _text(entry.name) if control.type == api.V4L2_CTRL_TYPE_MENU else str(entry.value)
    return found


def _has(fd: int, request: int, entry: Any) -> bool:
    """Let the kernel fill in *entry* of a list; False at the end of the list, without one, or if firmware fails."""
    try:
        fcntl.ioctl(fd, request, entry)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise
        return False
    return True


def get_control(fd: int, control: Control) -> int:
    """Return the value of *control*."""
    entry = api.v4l2_control(id=control.id)
    fcntl.ioctl(fd, api.VIDIOC_G_CTRL, entry)
    return int(entry.value)


def set_control(fd: int, control: Control, value: int) -> None:
    """Set *control*. A driver may use the nearest value that it supports; `get_control` returns that."""
    fcntl.ioctl(fd, api.VIDIOC_S_CTRL, api.v4l2_control(id=control.id, value=value))


def _text(field: ctypes.Array[ctypes.c_uint8]) -> str:
    return bytes(field).split(b"\0")[0].decode(errors="replace")
