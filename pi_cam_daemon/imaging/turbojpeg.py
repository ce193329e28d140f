"""Calls libjpeg-turbo's lossless transform through ctypes, to turn JPEGs and to check them.

Names and numbers are those of turbojpeg.h.
"""

from __future__ import annotations

import ctypes
import weakref

_PERFECT = 1 << 0
_COPY_NO_MARKERS = 1 << 6
_LIMIT_SCANS = 1 << 15
_WARNING = 0
_NOTHING = 0  # the operation TJXOP_NONE


class Region(ctypes.Structure):
    """A part of a component, in pixels: tjregion."""

    _fields_ = tuple((name, ctypes.c_int) for name in ("x", "y", "width", "height"))


# Called for each row of blocks of each component of the result: coefficients, the row's region, that of the component,
# its number, the number of the transform, and the transform. It may change the coefficients. -1 is a failure.
Filter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, Region, Region, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


class _TjTransform(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("x", "y", "width", "height", "op", "options")),
        ("data", ctypes.c_void_p),
        ("filter", Filter),
    )


class Lossless:
    """Turns the blocks of JPEGs without decoding pixels. OSError if the library is not installed.

    *op* is a TJXOP. *row_filter* may change the result; see Filter.
    """

    def __init__(self, op: int, row_filter: ctypes._FuncPointer | None = None) -> None:
        # None of the bindings on PyPI turns pictures with the libjpeg-turbo 2 of Raspberry Pi OS. These functions have
        # been the same since 1.2.
        library = ctypes.CDLL("libturbojpeg.so.0")
        self._transform, self._error_code, self._free = library.tjTransform, library.tjGetErrorCode, library.tjFree
        source = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_int  # handle, JPEG, its size, 1 picture
        result = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_ulong)
        self._transform.argtypes = (*source, *result, ctypes.POINTER(_TjTransform), ctypes.c_int)
        self._error_code.argtypes = self._free.argtypes = library.tjDestroy.argtypes = (ctypes.c_void_p,)
        self._free.restype = None
        library.tjInitTransform.restype = ctypes.c_void_p
        self._error_text = library.tjGetErrorStr2
        self._error_text.argtypes, self._error_text.restype = (ctypes.c_void_p,), ctypes.c_char_p
        self._handle = library.tjInitTransform()
        if not self._handle:
            raise OSError("libturbojpeg has no memory")
        weakref.finalize(self, library.tjDestroy, self._handle)
        self._operation = _TjTransform(op=op, options=_PERFECT | _COPY_NO_MARKERS, filter=row_filter or Filter())

    def __call__(self, jpeg: bytes) -> bytes | None:
        """Return *jpeg* turned, or None if its size is no multiple of the block size at an edge that would move."""
        turned, error = self._run(jpeg)
        # a warning is about a flaw of the picture itself, which any decoder shows
        return turned if error in (None, _WARNING) else None

    def is_whole(self, jpeg: bytes) -> bool:
        """Return True if the picture data of *jpeg*, which has an end marker, goes down to its last block."""
        _, error = self._run(jpeg)
        return error is None or (error == _WARNING and b"premature end" not in self._error_text(self._handle))

    def _run(self, jpeg: bytes) -> tuple[bytes | None, int | None]:
        """Return the result, if there is one, and the code of the error, if there was one."""
        buffer, length = ctypes.c_void_p(), ctypes.c_ulong()
        try:
            failed = self._transform(self._handle, jpeg, len(jpeg), 1, buffer, length, self._operation, _LIMIT_SCANS)
            turned = ctypes.string_at(buffer, length.value) if buffer else None
            return turned, self._error_code(self._handle) if failed else None
        finally:
            self._free(buffer)


def checker() -> Lossless:
    """Return an object for `is_whole`; OSError if the library is not installed."""
    return Lossless(_NOTHING)
