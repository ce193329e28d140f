"""Decompression with libzstd, which every Debian has for dpkg. The command zstd may be missing."""

from __future__ import annotations

import ctypes
import io
from typing import Any, BinaryIO

_CHUNK = 1 << 17


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


class ZstdReader(io.RawIOBase):
    """The decompressed content of *file* as a stream. Reading raises ValueError if it is damaged or not zstd's."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._library = ctypes.CDLL("libzstd.so.1")
        self._library.ZSTD_createDStream.restype = ctypes.c_void_p
        self._library.ZSTD_decompressStream.restype = ctypes.c_size_t
        self._stream = ctypes.c_void_p(self._library.ZSTD_createDStream())
        self._data = ctypes.create_string_buffer(_CHUNK)
        self._in = _Buffer(ctypes.addressof(self._data), 0, 0)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        view = (ctypes.c_char * len(target)).from_buffer(target)
        out = _Buffer(ctypes.addressof(view), len(target), 0)
        while not out.position:
            if self._in.position == self._in.size:
                data = self._file.read(_CHUNK)
                if not data:
                    break
                ctypes.memmove(self._data, data, len(data))
                self._in.size, self._in.position = len(data), 0
            code = self._library.ZSTD_decompressStream(self._stream, ctypes.byref(out), ctypes.byref(self._in))
            if self._library.ZSTD_isError(ctypes.c_size_t(code)):
                raise ValueError("it cannot be decompressed by zstd")
        return int(out.position)

    def close(self) -> None:
        if not self.closed:
            self._library.ZSTD_freeDStream(self._stream)
        super().close()
