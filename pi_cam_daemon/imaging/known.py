"""Recognizes sound pictures of one stream by their header, without a scan of their data (docs/decisions/016)."""

from __future__ import annotations

import logging
import mmap
from functools import cached_property

from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.turbojpeg import Lossless, checker

log = logging.getLogger(__name__)

_EOI = b"\xff\xd9"
# Old or foreign bytes behind the end marker show as an end marker within this many bytes before the last one.
_TAIL_BYTES = 1024
# a picture that is longer than the last one by more than this part of it may be two
_LONGER = 8
# Of so many pictures one gets the full check. It is a prime number: some cameras spoil every second or fourth picture.
_FULL_EVERY = 31
# so many pictures get the full check after a bad one
_DISTRUST = 300
# so many pictures without an end marker are taken for whole behind one that is
_TRUST = 10


class KnownHeader:
    """Remembers the header of the last picture of ONE stream that passed the full check. Not thread-safe.

    A picture with the same tables at the same place, an end marker as its last bytes and no unusual length is sound.
    What comments and application data before the tables hold may differ: cameras put the time there. *orientation* is
    what the Exif of the picture asked for (1 to 8; 1 is upright) that `repair` returned last; it has none any more.
    """

    def __init__(self) -> None:
        self._tables = b""  # from the last comment or application data to the end of the header of SOS
        self._at = 0  # where they begin
        self._markers = b""  # of the segments before them
        self._longest = 0  # in bytes, without the tail: a longer picture gets the full check
        self.orientation = 1
        self._until_full = 0  # so many pictures may be recognized until one gets the full check
        self._until_decoded = 0  # so many pictures without an end marker are taken for whole

    def matches(self, data: bytes | mmap.mmap, length: int) -> bool:
        """Return True if the first *length* bytes of *data* are one whole JPEG that needs no repair.

        False says nothing about the picture: `repair` has to check it. A picture that the driver reports as damaged
        must not come here.
        """
        at, start = self._at, length - _TAIL_BYTES
        end = at + len(self._tables)
        if (
            self._until_full <= 0
            or not end < start < self._longest
            or data.find(self._tables, at, end) != at
            or data.find(_EOI, start, length) != length - 2  # it is the end, and not there twice
            or data[0] != 0xFF
            or data[1] != 0xD8
            or _markers(data, at) != self._markers
        ):
            return False
        self._until_full -= 1
        self._longest = start + length // _LONGER
        return True

    def repair(self, data: bytes) -> bytes:
        """Return `jpeg.repair` of *data*, which is *data* itself for a picture that `matches`; JpegError as there.

        Some cameras never send an end marker, such as a C920 on a Pi 5 (µStreamer's issue 313). A picture without one
        was cut short, unless it decodes down to its last block.
        """
        if self.matches(data, len(data)):
            self.orientation = 1
            return data
        try:
            picture, self.orientation, header = jpeg.repaired(data)
        except JpegError:
            self._until_full = -_DISTRUST
            return self._without_end(data)
        self._until_decoded = 0
        if picture is not data:
            self._until_full = -_DISTRUST
        elif self._until_full < 0:
            self._until_full += 1
        else:
            *_, metadata, _, end = header
            self._at = metadata[-1][1] if metadata else 2
            self._markers = _markers(data, self._at)
            self._tables = data[self._at : end]
            self._longest = len(data) - _TAIL_BYTES + len(data) // _LONGER
            self._until_full = _FULL_EVERY - 1
        return picture

    def _without_end(self, data: bytes) -> bytes:
        """Return the picture in *data*, which has no end marker, with one; JpegError if that is not all it lacks."""
        picture, self.orientation, _ = jpeg.repaired(data, end_required=False)
        if self._until_decoded:
            self._until_decoded -= 1
        elif self._checker and self._checker.is_whole(picture):
            self._until_decoded = _TRUST
        else:
            raise JpegError("it is cut short: no end marker (FFD9)")
        return picture

    @cached_property
    def _checker(self) -> Lossless | None:
        try:
            return checker()
        except OSError as error:
            log.warning(
                "Pictures without an end marker are refused, as nothing shows which are whole: %s. To change that, run "
                "sudo apt install libturbojpeg0",
                error,
            )
            return None


def _markers(data: bytes | mmap.mmap, end: int) -> bytes:
    """Return the markers of the segments between SOI and *end*; empty if they do not end there."""
    markers = bytearray()
    at = 2
    while at < end:
        if data[at] != 0xFF:
            return b""
        markers.append(data[at + 1])
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return bytes(markers) if at == end else b""
