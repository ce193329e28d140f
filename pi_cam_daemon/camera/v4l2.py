"""A camera through V4L2, the kernel's own interface to it. Everything here raises OSError as the kernel has it.

docs/decisions/001-v4l2-capture.md says why neither linuxpy nor OpenCV does this.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import videodev2 as api

_CAPTURES = api.V4L2_CAP_VIDEO_CAPTURE | api.V4L2_CAP_STREAMING
# one is being filled, one waits to be, one is read; one more for a busy processor
_BUFFERS = 4
# beyond any camera: a list that never ends must end
_MOST_FORMATS = 64
_MOST_CONTROLS = 256

# what the module videodev2 leaves out
_VIDIOC_ENUM_FRAMESIZES = 0xC02C564A


class _FrameSize(ctypes.Structure):
    """v4l2_frmsizeenum; *numbers* are width and height, or least, most and step of each."""

    _fields_ = (
        ("index", ctypes.c_uint32),
        ("pixel_format", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("numbers", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    )


@contextlib.contextmanager
def opened(node: Path) -> Iterator[int]:
    """The file descriptor of the device at *node*, for as long as the block lasts."""
    fd = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@dataclass(frozen=True)
class Device:
    """What a node says of itself; *bus* is where it is attached, *captures* whether pictures come out of it.

    *pixel_formats* are those it has, by their four characters.
    """

    name: str
    bus: str
    captures: bool
    pixel_formats: tuple[str, ...]


def device(node: Path) -> Device:
    """What *node* says of itself."""
    capability = api.v4l2_capability()
    with opened(node) as fd:
        fcntl.ioctl(fd, api.VIDIOC_QUERYCAP, capability)
        # `capabilities` is about all nodes of a device: a webcam's metadata node has pictures there, too
        captures = capability.device_caps & _CAPTURES == _CAPTURES
        formats = tuple(pixel_formats(fd)) if captures else ()
    return Device(_text(capability.card), _text(capability.bus_info), captures, formats)


def pixel_formats(fd: int) -> list[str]:
    """The pixel formats that a camera has, by their four characters, in its own order."""
    found: list[str] = []
    while len(found) < _MOST_FORMATS:
        entry = api.v4l2_fmtdesc(index=len(found), type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE)
        try:
            fcntl.ioctl(fd, api.VIDIOC_ENUM_FMT, entry)
        except OSError as error:
            if error.errno == errno.EINVAL:  # how the kernel ends a list
                break
            raise
        found.append(entry.pixelformat.to_bytes(4, "little").decode("latin-1"))
    return found


def largest_size(fd: int, pixel_format: str, most_pixels: int) -> tuple[int, int]:
    """The largest (width, height) listed for *pixel_format*, of no more than *most_pixels*; (0, 0) without any."""
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
    """A control as the driver lists it; *type* and *flags* are the kernel's V4L2_CTRL_TYPE_* and V4L2_CTRL_FLAG_*.

    *menu* holds the entries that can be chosen: names, or numbers as text.
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
    """List the controls of a camera, in the order of their ids."""
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
        if _has(fd, api.VIDIOC_QUERYMENU, entry):  # not every number of the range has to be there
            found[index] = _text(entry.name) if control.type == api.V4L2_CTRL_TYPE_MENU else str(entry.value)
    return found


def _has(fd: int, request: int, entry: Any) -> bool:
    """Have the kernel fill in *entry* of a list; False at its end, without a list, or if firmware fails at it."""
    try:
        fcntl.ioctl(fd, request, entry)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise
        return False
    return True


def get_control(fd: int, control: Control) -> int:
    """What *control* is set to."""
    asked = api.v4l2_control(id=control.id)
    fcntl.ioctl(fd, api.VIDIOC_G_CTRL, asked)
    return int(asked.value)


def set_control(fd: int, control: Control, value: int) -> None:
    """Set *control*; a driver may take the nearest value that it has, which `get_control` then tells."""
    fcntl.ioctl(fd, api.VIDIOC_S_CTRL, api.v4l2_control(id=control.id, value=value))


class Picture(NamedTuple):
    """What was in one of the driver's buffers.

    *timestamp_ns* is CLOCK_MONOTONIC, 0 if the driver does not say; *damaged* is what it knows to be incomplete.
    """

    data: bytes
    timestamp_ns: int
    damaged: bool


class Capture:
    """An open camera that was asked for these settings.

    *width*, *height*, *row_bytes*, *framerate* and *pixel_format* are its answer: what it will really give.
    *row_bytes* is 0 for JPEGs.
    """

    def __init__(self, fd: int, pixel_format: str, width: int, height: int, framerate: float) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._memory: list[mmap.mmap] = []
        # used again and again: a new one takes longer than the call that it is for
        self._dequeued, self._newer = _buffer(), _buffer()
        asked = api.v4l2_format(type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE)
        pixels = asked.fmt.pix
        pixels.width, pixels.height = width, height
        pixels.pixelformat = int.from_bytes(pixel_format.encode(), "little")
        pixels.field = api.V4L2_FIELD_ANY
        fcntl.ioctl(fd, api.VIDIOC_S_FMT, asked)
        self.pixel_format = pixels.pixelformat.to_bytes(4, "little").decode("latin-1")
        self.width, self.height, self.row_bytes = pixels.width, pixels.height, pixels.bytesperline
        self.framerate = self._set_framerate(framerate)

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Let the camera deliver for as long as the block lasts."""
        request = api.v4l2_requestbuffers(
            count=_BUFFERS, type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE, memory=api.V4L2_MEMORY_MMAP
        )
        fcntl.ioctl(self._fd, api.VIDIOC_REQBUFS, request)
        kind = ctypes.c_int(api.V4L2_BUF_TYPE_VIDEO_CAPTURE)
        with contextlib.ExitStack() as stack:
            stack.callback(self._free)
            for index in range(request.count):
                buffer = _buffer(index)
                fcntl.ioctl(self._fd, api.VIDIOC_QUERYBUF, buffer)
                memory = mmap.mmap(self._fd, buffer.length, offset=buffer.m.offset)
                self._memory.append(stack.enter_context(memory))
                fcntl.ioctl(self._fd, api.VIDIOC_QBUF, buffer)
            fcntl.ioctl(self._fd, api.VIDIOC_STREAMON, kind)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # it may be gone, and why the block ended is the news
                    fcntl.ioctl(self._fd, api.VIDIOC_STREAMOFF, kind)

    def _free(self) -> None:
        """Give the buffers back: while there are any, the camera takes no other size."""
        self._memory.clear()
        request = api.v4l2_requestbuffers(type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE, memory=api.V4L2_MEMORY_MMAP)
        with contextlib.suppress(OSError):  # as above
            fcntl.ioctl(self._fd, api.VIDIOC_REQBUFS, request)

    def wait(self, milliseconds: int) -> bool:
        """Whether there is news in that time: a picture, or the error that ends them. `newest` has it."""
        return bool(self._poll.poll(milliseconds))

    def skip(self) -> bool:
        """Leave the oldest picture that has come to the driver again; whether there was one."""
        if not self._dequeue(self._dequeued):
            return False
        fcntl.ioctl(self._fd, api.VIDIOC_QBUF, self._dequeued)
        return True

    def newest(self) -> Picture | None:
        """The newest picture that has come, older ones are skipped; None if there is none."""
        if not self._dequeue(self._dequeued):
            return None
        # poll() first: an attempt that fails costs as much as all the rest here
        while self._poll.poll(0) and self._dequeue(self._newer):
            fcntl.ioctl(self._fd, api.VIDIOC_QBUF, self._dequeued)
            self._dequeued, self._newer = self._newer, self._dequeued
        newest = self._dequeued
        data = self._memory[newest.index][: newest.bytesused]
        picture = Picture(data, _timestamp_ns(newest), bool(newest.flags & api.V4L2_BUF_FLAG_ERROR))
        fcntl.ioctl(self._fd, api.VIDIOC_QBUF, newest)
        return picture

    def _dequeue(self, buffer: Any) -> bool:
        try:
            fcntl.ioctl(self._fd, api.VIDIOC_DQBUF, buffer)
        except BlockingIOError:
            return False
        return True

    def _set_framerate(self, framerate: float) -> float:
        """Ask for *framerate*; the answer, which is taken to be the same where a camera gives none."""
        wanted = 1 / Fraction(framerate).limit_denominator(1001)
        asked = api.v4l2_streamparm(type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE)
        period = asked.parm.capture.timeperframe
        period.numerator, period.denominator = wanted.numerator, wanted.denominator
        try:
            fcntl.ioctl(self._fd, api.VIDIOC_S_PARM, asked)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL):
                raise
            return framerate
        if not period.numerator or not period.denominator:
            return framerate
        return float(period.denominator / period.numerator)


def _buffer(index: int = 0) -> Any:
    return api.v4l2_buffer(index=index, type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE, memory=api.V4L2_MEMORY_MMAP)


def _timestamp_ns(buffer: Any) -> int:
    if buffer.flags & api.V4L2_BUF_FLAG_TIMESTAMP_MASK != api.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC:
        return 0
    timestamp = buffer.timestamp
    return int(timestamp.tv_sec * 1_000_000_000 + timestamp.tv_usec * 1000)


def _text(field: ctypes.Array[ctypes.c_uint8]) -> str:
    return bytes(field).split(b"\0")[0].decode(errors="replace")
