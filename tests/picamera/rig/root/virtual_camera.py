"""Buffers and an encoder for CsiSource in the rig, in place of those that exist only on a Pi."""

from __future__ import annotations

import mmap
import os
from typing import Any

import libcamera
import numpy
import simplejpeg
from picamera2 import MappedArray
from picamera2.allocators.allocator import Allocator, Sync
from picamera2.encoders import JpegEncoder


class MemfdAllocator(Allocator):
    """Allocates frame buffers of plain shared memory.

    picamera2's own allocator uses a DMA heap, which few kernels but a Pi's have. It also describes a frame as one
    plane, while the virtual pipeline writes the two planes of NV12.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sync = _Mapped
        self.mapped_buffers: dict[Any, mmap.mmap] = {}
        self._buffers: dict[Any, list[Any]] = {}

    def allocate(self, libcamera_config: Any, _use_case: str | None) -> None:
        self.mapped_buffers = {}
        self._buffers = {
            stream.stream: [self._buffer(stream.stride * stream.size.height) for _ in range(stream.buffer_count)]
            for stream in libcamera_config
        }

    def buffers(self, stream: Any) -> list[Any]:
        return self._buffers[stream]

    def _buffer(self, luma_bytes: int) -> Any:
        fd = os.memfd_create("frame")
        try:
            os.ftruncate(fd, luma_bytes * 3 // 2)
            planes = [libcamera.FrameBuffer.Plane(), libcamera.FrameBuffer.Plane()]
            for plane, offset, length in zip(planes, (0, luma_bytes), (luma_bytes, luma_bytes // 2), strict=True):
                plane.fd, plane.offset, plane.length = fd, offset, length
            buffer = libcamera.FrameBuffer(planes)
            self.mapped_buffers[buffer] = mmap.mmap(fd, luma_bytes * 3 // 2)
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


class NV12JpegEncoder(JpegEncoder):
    """A JpegEncoder for NV12, the only format of the virtual pipeline."""

    def encode_func(self, request: Any, name: str) -> bytes:
        width, height = request.config[name]["size"]
        with MappedArray(request, name, write=False) as mapped:
            luma = mapped.array[:height, :width]
            chroma = mapped.array[height : height * 3 // 2, :width]
            planes = [numpy.ascontiguousarray(plane) for plane in (luma, chroma[:, 0::2], chroma[:, 1::2])]
            return simplejpeg.encode_jpeg_yuv_planes(*planes, self.q)


def nv12_encoder(_width: int, _height: int, quality: int) -> tuple[NV12JpegEncoder, str]:
    return NV12JpegEncoder(q=quality), "software JPEG of NV12"
