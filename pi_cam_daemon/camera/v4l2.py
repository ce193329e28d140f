"""Pictures of a camera through V4L2, the kernel's video interface. Every function raises the kernel's OSError.

docs/decisions/001-v4l2-capture.md gives the reasons against linuxpy and OpenCV.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import struct
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import videodev2 as api

# one is being filled, one is next, one is read, and one is in reserve for a busy processor
_BUFFERS = 4
# A driver whose numbers differ by more does not count: no camera takes so many pictures in a second.
_MOST_DROPPED = 1000


@contextlib.contextmanager
def opened(node: Path) -> Iterator[int]:
    """Open the device at *node*; yield its file descriptor and close it after the block."""
    fd = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _layout() -> struct.Struct:
    """Return the layout of index, bytesused, flags, timestamp and sequence in a v4l2_buffer, which varies by machine.

    A struct reads them in one step. Each attribute of a ctypes structure takes longer than the ioctl that it is for.
    """
    stamp = api.v4l2_buffer.timestamp
    second = "q" if stamp.size == 16 else "l"
    fields = [(api.v4l2_buffer.index, "I"), (api.v4l2_buffer.bytesused, "I"), (api.v4l2_buffer.flags, "I")]
    fields += [(stamp, second * 2), (api.v4l2_buffer.sequence, "I")]
    codes, at = "=", 0
    for field, code in fields:
        codes += f"{field.offset - at}x{code}"
        at = field.offset + field.size
    return struct.Struct(codes)


_BUFFER = _layout()
_TIMESTAMP_MASK, _MONOTONIC = api.V4L2_BUF_FLAG_TIMESTAMP_MASK, api.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC
_ERROR = api.V4L2_BUF_FLAG_ERROR
_DQBUF, _QBUF = api.VIDIOC_DQBUF, api.VIDIOC_QBUF


# Content of one buffer, until `Capture.give_back` is called: its memory, a view of that, the length in bytes, the time
# of capture in nanoseconds of CLOCK_MONOTONIC (0 if the driver does not say) and the driver's error flag.
Picture = tuple[mmap.mmap, memoryview, int, int, bool]


class Capture:
    """Configures an open camera and reads its pictures. Attributes: the real settings (*row_bytes* is 0 for JPEGs)."""

    def __init__(self, fd: int, pixel_format: str, width: int, height: int, framerate: float) -> None:
        self._fd = fd
        self._sequence = self._skipped = 0  # the driver's numbers of the last picture, and of the last in `skip`
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._memory: list[tuple[mmap.mmap, memoryview]] = []
        # used again for each picture: creating one takes longer than the ioctl that it is for
        self._dequeued, self._newer = bytearray(_buffer()), bytearray(_buffer())
        request = api.v4l2_format(type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE)
        pixels = request.fmt.pix
        pixels.width, pixels.height = width, height
        pixels.pixelformat = int.from_bytes(pixel_format.encode(), "little")
        pixels.field = api.V4L2_FIELD_ANY
        fcntl.ioctl(fd, api.VIDIOC_S_FMT, request)
        self.pixel_format = pixels.pixelformat.to_bytes(4, "little").decode("latin-1")
        self.width, self.height, self.row_bytes = pixels.width, pixels.height, pixels.bytesperline
        self.framerate = self._set_framerate(framerate)
        self._period_ns = int(1e9 / self.framerate)

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Start the camera; stop it after the block."""
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
                stack.enter_context(memory)
                self._memory.append((memory, stack.enter_context(memoryview(memory))))
                fcntl.ioctl(self._fd, api.VIDIOC_QBUF, buffer)
            fcntl.ioctl(self._fd, api.VIDIOC_STREAMON, kind)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # the camera may be gone; this must not hide the block's own error
                    fcntl.ioctl(self._fd, api.VIDIOC_STREAMOFF, kind)

    def _free(self) -> None:
        """Return the buffers to the driver, which accepts no other size before that."""
        self._memory.clear()
        request = api.v4l2_requestbuffers(type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE, memory=api.V4L2_MEMORY_MMAP)
        with contextlib.suppress(OSError):  # as above
            fcntl.ioctl(self._fd, api.VIDIOC_REQBUFS, request)

    def wait(self, milliseconds: int) -> bool:
        """Wait for a picture or an error, which `newest` then returns or raises; False after *milliseconds*."""
        return bool(self._poll.poll(milliseconds))

    def skip(self) -> int:
        """Return all pictures to the driver unread. Return how many."""
        count = 0
        while count < _BUFFERS and self._dequeue(self._dequeued):
            *_, self._sequence = _BUFFER.unpack_from(self._dequeued)
            fcntl.ioctl(self._fd, api.VIDIOC_QBUF, self._dequeued)
            count += 1
        self._skipped = self._sequence
        return count

    def dropped(self) -> int:
        """Return how many pictures came between `skip` and the last one of `newest`.

        The driver dropped most of them, because all its buffers were full. It counts them, or else this is 0.
        """
        count = (self._sequence - self._skipped - 1) % 2**32
        return count if count < _MOST_DROPPED else 0

    def newest(self) -> Picture | None:
        """Return the newest picture, and skip older ones; None if there is none. `give_back` has to follow."""
        if not self._dequeue(self._dequeued):
            return None
        while True:
            index, length, flags, seconds, microseconds, self._sequence = _BUFFER.unpack_from(self._dequeued)
            timestamp_ns = 0
            if flags & _TIMESTAMP_MASK == _MONOTONIC:
                timestamp_ns = seconds * 1_000_000_000 + microseconds * 1000
                if time.monotonic_ns() - timestamp_ns < self._period_ns:  # no newer one can be there
                    break
            # poll() first: a failed ioctl takes as long as all the rest here
            if not self._poll.poll(0) or not self._dequeue(self._newer):
                break
            fcntl.ioctl(self._fd, api.VIDIOC_QBUF, self._dequeued)
            self._dequeued, self._newer = self._newer, self._dequeued
        memory, view = self._memory[index]
        return memory, view, length, timestamp_ns, flags & _ERROR != 0

    def give_back(self) -> None:
        """Return the buffer of the last picture to the driver."""
        fcntl.ioctl(self._fd, _QBUF, self._dequeued)

    def _dequeue(self, buffer: bytearray) -> bool:
        try:
            fcntl.ioctl(self._fd, _DQBUF, buffer)
        except BlockingIOError:
            return False
        return True

    def _set_framerate(self, framerate: float) -> float:
        """Request *framerate* and return the driver's answer; without an answer, *framerate* itself."""
        wanted = 1 / Fraction(framerate).limit_denominator(1001)
        request = api.v4l2_streamparm(type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE)
        period = request.parm.capture.timeperframe
        period.numerator, period.denominator = wanted.numerator, wanted.denominator
        try:
            fcntl.ioctl(self._fd, api.VIDIOC_S_PARM, request)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL):
                raise
            return framerate
        answered = period.numerator and period.denominator
        return float(period.denominator / period.numerator) if answered else framerate


def _buffer(index: int = 0) -> Any:
    return api.v4l2_buffer(index=index, type=api.V4L2_BUF_TYPE_VIDEO_CAPTURE, memory=api.V4L2_MEMORY_MMAP)
