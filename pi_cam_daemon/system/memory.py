"""Setting of the C library's allocator, so that memory for pictures goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes

# mallopt(3)
_M_MMAP_THRESHOLD = -3
# Most pictures are smaller, and the heap is faster for them: a new block costs 1 ms for a megabyte.
_LARGE_BYTES = 1 << 20


def give_back_large_blocks() -> None:
    """Have each block of more than a megabyte mapped for itself, and given back when it is freed.

    After the first large block glibc would take such blocks from the heap, where free ones stay between others.
    """
    with contextlib.suppress(AttributeError):  # another C library, such as musl, has no mallopt
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
