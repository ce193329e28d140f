"""Recognizes sound pictures of one stream by their header, without a scan of their data (docs/decisions/016)."""

from __future__ import annotations

import mmap
import re

from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import jpeg

_EOI = b"\xff\xd9"
_SOI_OR_EOI = re.compile(rb"\xff[\xd8\xd9]")
# Old or foreign bytes behind the end marker show as an end marker within this many bytes before the last one.
_TAIL_BYTES = 1024
# a picture that is longer than the last one by more than this part of it may be two
_LONGER = 8
# Of so many pictures one gets the full check. It is a prime number: some cameras spoil every second or fourth picture.
_FULL_EVERY = 31
# so many pictures get the full check after a bad one
_DISTRUST = 300


class KnownHeader:
    """Remembers the header of the last picture of ONE stream that passed the full check. Not thread-safe.

    A picture with the same header at the same place, an end marker as its last bytes and no unusual length is sound.
    Only comments and application data of the same length may differ, as cameras put the time there. *orientation* is
    what the Exif of the picture asked for (1 to 8; 1 is upright) that `repair` returned last; it has none any more.
    """

    def __init__(self) -> None:
        self._front = b""  # from SOI to the end of the last comment or application data
        self._tables = b""  # from there to the end of the header of SOS
        self._metadata: list[tuple[int, int]] = []
        self._longest = 0  # in bytes: a longer picture gets the full check
        self.orientation = 1
        self._until_full = 0  # so many pictures may be recognized until one gets the full check

    def matches(self, data: bytes | memoryview | mmap.mmap, length: int) -> bool:
        """Return True if the first *length* bytes of *data* are one whole JPEG that needs no repair.

        False says nothing about the picture: `repair` has to check it. A picture that the driver reports as damaged
        must not come here.
        """
        at = len(self._front)
        end = at + len(self._tables)
        if (
            self._until_full <= 0
            or length > self._longest
            or data[at:end] != self._tables
            or data[length - 2 : length] != _EOI
        ):
            return False
        front = bytes(data[:at])
        if front != self._front and not self._may_replace(front):
            return False
        start = max(end, length - _TAIL_BYTES)
        if bytes(data[start:length]).find(_EOI) != length - 2 - start:
            return False
        self._until_full -= 1
        self._longest = length + length // _LONGER
        return True

    def repair(self, data: bytes) -> bytes:
        """Return `jpeg.repair` of *data*, which is *data* itself for a picture that `matches`; JpegError as there."""
        if self.matches(data, len(data)):
            self.orientation = 1
            return data
        try:
            picture, self.orientation, header = jpeg.repaired(data)
        except JpegError:
            self._until_full = -_DISTRUST
            raise
        if picture is not data:
            self._until_full = -_DISTRUST
        elif self._until_full < 0:
            self._until_full += 1
        else:
            *_, self._metadata, _, end = header
            at = self._metadata[-1][1] if self._metadata else 2
            self._front, self._tables = data[:at], data[at:end]
            self._longest = len(data) + len(data) // _LONGER
            self._until_full = _FULL_EVERY - 1
        return picture

    def _may_replace(self, front: bytes) -> bool:
        """Return True if *front* differs from the known one only inside of comments and application data."""
        at = 2
        for start, end in self._metadata:
            if front[at : start + 4] != self._front[at : start + 4]:
                return False
            at = end
        return front[:2] == self._front[:2] and b"Exif\0" not in front and not _SOI_OR_EOI.search(front, 2)
