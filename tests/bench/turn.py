"""Turn JPEGs with libjpeg-turbo alone, one after the other: what a program that turns pictures cannot be below.

    python -m tests.bench.turn FOLDER

It prints the processor time for one picture in seconds. Each result goes to the same memory, and is not looked at. The
functions and numbers are those of turbojpeg.h, with the daemon's options (imaging/turbojpeg.py).
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path

_ROTATE_90 = 5
_PERFECT_WITHOUT_COMMENTS = 1 << 0 | 1 << 6
_LIMIT_SCANS = 1 << 15
_ROUNDS = 10


class _Transform(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("x", "y", "width", "height", "op", "options")),
        ("data", ctypes.c_void_p),
        ("filter", ctypes.c_void_p),
    )


def main(folder: Path) -> int:
    library = ctypes.CDLL("libturbojpeg.so.0")
    library.tjInitTransform.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(library.tjInitTransform())
    turn = _Transform(op=_ROTATE_90, options=_PERFECT_WITHOUT_COMMENTS)
    jpegs = [(jpeg, ctypes.c_ulong(len(jpeg))) for jpeg in (file.read_bytes() for file in sorted(folder.iterdir()))]
    result, length = ctypes.c_void_p(), ctypes.c_ulong()
    to = ctypes.byref(result), ctypes.byref(length)
    begin = 0.0
    for number in range(1 + _ROUNDS):
        if number == 1:  # the first round finds memory
            begin = time.process_time()
        for jpeg, size in jpegs:
            if library.tjTransform(handle, jpeg, size, 1, *to, ctypes.byref(turn), _LIMIT_SCANS):
                raise RuntimeError("libjpeg-turbo cannot turn a picture")
    print((time.process_time() - begin) / (_ROUNDS * len(jpegs)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
