"""Slots: memory that both processes share, in which frames go from the camera process to the server.

    byte N          1 while slot N belongs to the server, 0 while it belongs to the camera process
    second page on  8 slots for frames of full size, then 4 for small ones; each has one frame as a ready part of the
                    stream (ipc/parts.py)

The camera process writes a part into a slot of its own, sets the slot's byte, and announces the part by a FRAME
message. The server sends the part from there, and clears the byte when it has a newer one. So no process writes to
memory that the other one reads. A slot has room for the longest frame, but only pages that were written take memory.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time

from pi_cam_daemon.errors import ProtocolError
from pi_cam_daemon.ipc.parts import CLOSING, part_header
from pi_cam_daemon.ipc.protocol import HEADER, LONGEST_FRAME, Kind

# The memory holds no program. The os module lacks the flag, and a kernel can be told to demand it (vm.memfd_noexec).
_MFD_NOEXEC_SEAL = 8
# the server has one, and some may wait in the socket while it is busy
SLOTS = 8
# Memory that was written stays in use until `SlotWriter.trim`, so large frames take these slots only: one is sent, one
# waits, one is written.
LARGE_SLOTS = 3
_LARGE_BYTES = 4 * 1024 * 1024
# slots for small frames, behind the others
SMALL_SLOTS = 4
LONGEST_SMALL = 4 * 1024 * 1024
# so much more than twice the longest frame stays in a slot
_KEPT_BYTES = 1024 * 1024
_FIRST = mmap.PAGESIZE
_SLOT_BYTES = LONGEST_FRAME + mmap.PAGESIZE
_SMALL_FIRST = _FIRST + SLOTS * _SLOT_BYTES
_SMALL_SLOT_BYTES = LONGEST_SMALL + mmap.PAGESIZE
_BYTES = _SMALL_FIRST + SMALL_SLOTS * _SMALL_SLOT_BYTES

# slot, length of the part's header, length of the JPEG, Unix time in microseconds
ANNOUNCEMENT = struct.Struct("<BxHIq")
FRAME = struct.Struct(HEADER.format + ANNOUNCEMENT.format[1:])  # the whole message


def create() -> int:
    """Return the file descriptor of new memory for slots. Raises OSError."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("frames", flags | _MFD_NOEXEC_SEAL)
    except OSError:  # Linux before 6.3
        fd = os.memfd_create("frames", flags)
    try:
        os.ftruncate(fd, _BYTES)
        # a process that reads memory which the other one has cut off would be killed by SIGBUS
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _place(slot: int) -> tuple[int, int]:
    """Return the offset of *slot* in the memory, and its length."""
    if slot < SLOTS:
        return _FIRST + slot * _SLOT_BYTES, _SLOT_BYTES
    return _SMALL_FIRST + (slot - SLOTS) * _SMALL_SLOT_BYTES, _SMALL_SLOT_BYTES


class SlotWriter:
    """The camera process's side of the memory *fd*: of the slots for small frames, or of the others.

    For one thread at a time.
    """

    def __init__(self, fd: int, small: bool = False) -> None:
        self._memory = mmap.mmap(fd, _BYTES)
        self._first = SLOTS if small else 0
        self._end = self._first + (SMALL_SLOTS if small else SLOTS)
        self._places = [_place(slot)[0] for slot in range(SLOTS + SMALL_SLOTS)]
        self._reach = [0] * (SLOTS + SMALL_SLOTS)  # length of each slot's longest frame since its memory was given back
        self._longest = 0  # of the frames since the last `trim`

    def write(self, jpeg: bytes | bytearray | memoryview, captured_ns: int) -> bytes | None:
        """Write a part with *jpeg* and return its announcement; None if no slot is free.

        *jpeg* has at most LONGEST_FRAME bytes, LONGEST_SMALL if it is small. *captured_ns* is CLOCK_MONOTONIC in
        nanoseconds.
        """
        memory, length = self._memory, len(jpeg)
        slot = memory.find(b"\0", self._first, self._end if length <= _LARGE_BYTES else LARGE_SLOTS)
        if slot < 0:
            return None
        timestamp_us = int(time.time() * 1e6) - max(0, time.monotonic_ns() - captured_ns) // 1000
        header = part_header(length, timestamp_us)
        start = self._places[slot]
        begin = start + len(header)
        end = begin + length
        memory[start:begin] = header
        memory[begin:end] = jpeg
        memory[end : end + len(CLOSING)] = CLOSING
        memory[slot] = 1
        if length > self._longest:
            self._longest = length
        if length > self._reach[slot]:
            self._reach[slot] = length
        return FRAME.pack(Kind.FRAME, ANNOUNCEMENT.size, captured_ns, slot, len(header), length, timestamp_us)

    def trim(self) -> None:
        """Give memory back that only frames took which were far larger than those since the last call."""
        if not self._longest:
            return
        for slot, reach in enumerate(self._reach):
            if reach > 2 * self._longest + _KEPT_BYTES and not self._memory[slot]:
                self._memory.madvise(mmap.MADV_REMOVE, *_place(slot))
                self._reach[slot] = 0
        self._longest = 0


class SlotReader:
    """The server's side of the memory *fd*."""

    def __init__(self, fd: int) -> None:
        self._view = memoryview(mmap.mmap(fd, _BYTES))
        self._taken = [False] * (SLOTS + SMALL_SLOTS)

    def take(self, slot: int, header_length: int, jpeg_length: int) -> memoryview:
        """Return the part in *slot*, not copied. Raises ProtocolError if it cannot be one."""
        if slot >= SLOTS + SMALL_SLOTS or self._taken[slot]:
            raise ProtocolError(f"a frame in slot {slot}, which is not the camera's")
        start, room = _place(slot)
        length = header_length + jpeg_length + len(CLOSING)
        if length > room:
            most = LONGEST_FRAME if slot < SLOTS else LONGEST_SMALL
            raise ProtocolError(f"FRAME of {jpeg_length} bytes; at most {most} are accepted")
        part = self._view[start : start + length]
        if part[header_length] != 0xFF or part[header_length + 1] != 0xD8:
            raise ProtocolError(f"a frame of {jpeg_length} bytes that is no JPEG")
        self._taken[slot] = True
        return part

    def give_back(self, slot: int) -> None:
        """Give *slot* back to the camera process, which may write to it from now on."""
        self._taken[slot] = False
        self._view[slot] = 0
