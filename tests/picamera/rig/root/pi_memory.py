"""The buffers of the rig's cameras, and the CMA memory that they would take on a Raspberry Pi."""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any

import libcamera
import numpy as np
from picamera2.allocators.allocator import Allocator, Sync

# What the virtual pipeline writes into each buffer goes behind the picture, which virtual_pi.py draws: NV12 in two
# planes, of the one size in virtual.yaml.
SCRATCH = (160, 120)
_LUMA = SCRATCH[0] * SCRATCH[1]


class Memory:
    """The CMA memory of a Pi: *budget* in bytes, or None for no end. *held* says who has how much of it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.budget: int | None = None
        self.held: dict[object, int] = {}
        self.most = 0  # at once

    def take(self, owner: object, size: int) -> None:
        """Give *owner* so many bytes in place of what it has; OSError(ENOMEM) if they are not there."""
        others = sum(held for other, held in self.held.items() if other != owner)
        if self.budget is not None and others + size > self.budget:
            self.held.pop(owner, None)
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self.held[owner] = size
        self.most = max(self.most, others + size)

    def free(self, owner: object) -> None:
        self.held.pop(owner, None)


memory = Memory()
# each buffer's bytes, for the one that draws
pixels: dict[Any, Any] = {}


class MemfdAllocator(Allocator):
    """Allocates frame buffers of plain shared memory; picamera2's own opens a DMA heap, which few kernels have."""

    def __init__(self) -> None:
        super().__init__()
        self.sync = _Mapped
        self.mapped_buffers: dict[Any, mmap.mmap] = {}
        self._buffers: dict[Any, list[Any]] = {}

    def allocate(self, libcamera_config: Any, _use_case: str | None) -> None:
        self._forget()
        streams = list(libcamera_config)
        memory.take(self, sum(stream.frame_size * stream.buffer_count for stream in streams))
        self._buffers = {
            stream.stream: [self._buffer(stream.frame_size) for _ in range(stream.buffer_count)] for stream in streams
        }

    def buffers(self, stream: Any) -> list[Any]:
        return self._buffers[stream]

    def _forget(self) -> None:
        for buffer in self.mapped_buffers:
            pixels.pop(buffer, None)
        self.mapped_buffers = {}
        self._buffers = {}
        memory.free(self)

    def _buffer(self, size: int) -> Any:
        whole = size + _LUMA * 3 // 2
        fd = os.memfd_create("frame")
        try:
            os.ftruncate(fd, whole)
            planes = [libcamera.FrameBuffer.Plane(), libcamera.FrameBuffer.Plane()]
            for plane, offset, length in zip(planes, (size, size + _LUMA), (_LUMA, _LUMA // 2), strict=True):
                plane.fd, plane.offset, plane.length = fd, offset, length
            buffer = libcamera.FrameBuffer(planes)
            self.mapped_buffers[buffer] = mmap.mmap(fd, size)
            pixels[buffer] = np.frombuffer(self.mapped_buffers[buffer], np.uint8)
            return buffer
        finally:
            os.close(fd)  # libcamera and the mapping keep descriptors of their own


class _Mapped(Sync):
    def __init__(self, allocator: MemfdAllocator, buffer: Any, _write: bool) -> None:
        self._memory = allocator.mapped_buffers[buffer]

    def __enter__(self) -> mmap.mmap:
        return self._memory

    def __exit__(self, *_: object) -> None:
        pass
