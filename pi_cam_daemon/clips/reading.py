"""Reader of clips, as matroska.py writes them. A clip that is cut, grows or is hostile is read up to where it ends."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pi_cam_daemon.clips.matroska import BLOCK, CLUSTER, DATE, DATE_EPOCH, DURATION, EBML, INFO, SEGMENT, TIME

_HEAD_BYTES = 512  # the opening is shorter
_ELEMENT_BYTES = 12  # of identifier and size
_CLUSTER_BYTES = _ELEMENT_BYTES + _ELEMENT_BYTES + 8  # with its time
_BLOCK_HEAD_BYTES = 4
_MOST_ELEMENTS = 100_000  # of one level: a hostile file may have one in every two bytes
_MOST_JPEG_BYTES = 64 << 20
_LONGEST_MS = 10 * 366 * 86_400_000


class ClipError(ValueError):
    """This is no clip, or it has no picture. The text is a sentence."""


class Place(NamedTuple):
    """The place of a picture in its file, and its time in ms since the begin of the clip."""

    ms: int
    at: int
    length: int


class _Element(NamedTuple):
    name: int
    begin: int  # of its content
    end: int


class Clip:
    """The clip in the file *fd*. *began_us* is Unix time in µs, *complete* says whether it was closed.

    All methods raise OSError. *fd* stays open.
    """

    def __init__(self, fd: int) -> None:
        """Read the opening. Raises ClipError if it is not that of a clip."""
        self._fd = fd
        self._duration_ms: int | None = None
        head = os.pread(fd, _HEAD_BYTES, 0)
        self.began_us, self._begin = self._opening(head)

    def _opening(self, head: bytes) -> tuple[int, int]:
        began_us, at = None, 0
        while (one := _element(head, at)) and one.name != CLUSTER:
            if (at == 0) != (one.name == EBML):
                break
            if one.name == INFO:
                began_us = self._facts(head[one.begin : one.end])
            at = one.begin if one.name == SEGMENT else one.end
        if began_us is None:
            raise ClipError("This file is not a clip")
        return began_us, at

    def _facts(self, info: bytes) -> int | None:
        """Return when the clip began; take note of its duration."""
        began_us, at = None, 0
        while one := _element(info, at):
            content, at = info[one.begin : one.end], one.end
            if one.name == DATE and len(content) == 8:
                since = int.from_bytes(content, signed=True) // 1000 + DATE_EPOCH * 1_000_000
                began_us = since if since >= 0 else None
            elif one.name == DURATION and len(content) == 8:
                (duration,) = struct.unpack(">d", content)
                self._duration_ms = round(duration) if 0 <= duration <= _LONGEST_MS else None
        return began_us

    @property
    def complete(self) -> bool:
        return self._duration_ms is not None

    def seconds(self) -> float:
        """Return the length. That of an incomplete clip is the time of its last whole picture, or 0."""
        if self._duration_ms is not None:
            return self._duration_ms / 1000
        newest = max((place.ms for place in self._near(_LONGEST_MS)), default=0)
        return newest / 1000

    def places(self, ms: int) -> Iterator[Place]:
        """Yield the pictures at *ms* and later, of the file as long as it is then."""
        return (place for place in self._near(ms) if place.ms >= ms)

    def find(self, ms: int, step: int = 0) -> Place:
        """Return the first picture at *ms* or later; the one after it with *step* 1, the one before it with -1.

        At an end of the clip it is the last or the first one. Raises ClipError if there is none.
        """
        wanted = ms + 1 if step > 0 else ms
        before = None
        for place in self._near(wanted - 1):
            if step >= 0 and place.ms >= wanted:
                return place
            if place.ms >= wanted:
                return before or place
            before = place
        if before is None:
            raise ClipError("This clip has no picture")
        return before

    def jpeg(self, place: Place) -> bytes:
        """Return the picture at *place*. Raises ClipError if it is not whole."""
        data = os.pread(self._fd, place.length, place.at)
        if len(data) < place.length or data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
            raise ClipError("This picture of the clip is damaged")
        return data

    def _near(self, ms: int) -> Iterator[Place]:
        """Yield the pictures from some time before *ms* on: from the last cluster but one that begins until then.

        The last one may be cut, without a whole picture.
        """
        start = latest = at = self._begin
        for _ in range(_MOST_ELEMENTS):
            data = os.pread(self._fd, _CLUSTER_BYTES, at)
            one = _element(data, 0)
            if one is None:
                break
            if one.name == CLUSTER:
                time = _element(data, one.begin)
                if time and _number(data, time) > ms:
                    break
                start, latest = latest, at
            at += one.end
        for _ in range(_MOST_ELEMENTS):
            one = self._element_at(start)
            if one is None:
                return
            if one.name == CLUSTER:
                yield from self._blocks(one)
            start = one.end

    def _blocks(self, cluster: _Element) -> Iterator[Place]:
        time, at = 0, cluster.begin
        size = os.fstat(self._fd).st_size
        for _ in range(_MOST_ELEMENTS):
            if at >= cluster.end:
                return
            data = os.pread(self._fd, _ELEMENT_BYTES + _BLOCK_HEAD_BYTES + 4, at)
            one = _element(data, 0)
            if one is None or at + one.end > size:
                return
            if one.name == TIME:
                time = _number(data, one)
            elif one.name == BLOCK and _BLOCK_HEAD_BYTES < one.end - one.begin <= _MOST_JPEG_BYTES:
                ms = time + int.from_bytes(data[one.begin + 1 : one.begin + 3], signed=True)
                begin = one.begin + _BLOCK_HEAD_BYTES
                if 0 <= ms <= _LONGEST_MS:
                    yield Place(ms, at + begin, one.end - begin)
            at += one.end

    def _element_at(self, at: int) -> _Element | None:
        one = _element(os.pread(self._fd, _ELEMENT_BYTES, at), 0)
        return one and _Element(one.name, at + one.begin, at + one.end)


def _element(data: bytes, at: int) -> _Element | None:
    """Return the element at *at* of *data*, which may lack its content; None if there is none."""
    if at >= len(data) or not data[at]:
        return None
    begin = at + 9 - data[at].bit_length()
    if begin >= len(data) or not data[begin]:
        return None
    length = 9 - data[begin].bit_length()
    number = data[begin : begin + length]
    if len(number) < length:
        return None
    size = int.from_bytes(number) & (1 << 7 * length) - 1
    return _Element(int.from_bytes(data[at:begin]), begin + length, begin + length + size)


def _number(data: bytes, one: _Element) -> int:
    """Return the number in *one*; at most 8 bytes of it count."""
    return int.from_bytes(data[one.begin : min(one.end, one.begin + 8)])
