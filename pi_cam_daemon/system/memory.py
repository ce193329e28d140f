"""Settings of the C library's allocator, for the memory of pictures."""

from __future__ import annotations

import contextlib
import ctypes

# mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_THRESHOLD = 32 << 20  # glibc refuses more, and on 32-bit systems anything near it
# A decoder and an encoder need so much for a pixel, with room to spare: 4:4:4 takes 12 to turn.
_BYTES_PER_PIXEL = 16
# Most pictures are smaller, and the heap is faster for them: a new block costs 1 ms for a megabyte.
_LARGE_BYTES = 1 << 20


def give_back_large_blocks() -> None:
    """Have each block of more than a megabyte mapped for itself, and given back when it is freed.

    After the first large block glibc would take such blocks from the heap, where free ones stay between others.
    """
    with contextlib.suppress(AttributeError):  # another C library, such as musl, has no mallopt
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def keep_free_blocks(pixels: int) -> None:
    """Keep freed memory for the next picture, as much as one of *pixels* needs; the rest goes back to the system.

    The allocator would give it back after each picture that was turned or encoded. The kernel would have to find and
    clear the same pages again, which takes a third of the time for turning a picture.
    """
    with contextlib.suppress(AttributeError):  # as above
        mallopt = ctypes.CDLL(None).mallopt
        most = min(_BYTES_PER_PIXEL * pixels, _LARGEST_THRESHOLD)
        if mallopt(_M_MMAP_THRESHOLD, most):
            mallopt(_M_TRIM_THRESHOLD, most)
