"""Matroska with JPEGs as they are (V_MJPEG), each at its own time. A file plays up to where it ends, wherever that is.

The segment has no size while it grows, so a player reads clusters until there are no more. When a clip is complete,
cues go behind them, and the opening is written again with duration, size and the place of the cues. RFC 9559 has the
format, RFC 8794 that of its elements.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pi_cam_daemon import __version__

# identifiers of elements
EBML, SEGMENT, _SEEK_HEAD, INFO = 0x1A45DFA3, 0x18538067, 0x114D9B74, 0x1549A966
_TRACKS, CLUSTER, _CUES, _VOID = 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0xEC
DATE, DURATION, TIME, BLOCK = 0x4461, 0x4489, 0xE7, 0xA3
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
DATE_EPOCH = 978_307_200  # 2001-01-01T00:00:00Z in Unix time; DateUTC counts from there
_DATE_BEGIN = DATE.to_bytes(2) + b"\x88"  # with its size
CLUSTER_BEGIN = CLUSTER.to_bytes(4) + b"\x01"  # with the first byte of its size
_TRACK = 1
_KEYFRAME = 0x80
MOST_CLUSTER_MS = 32_767  # the time of a block is a 16-bit number, in its cluster


@dataclass(frozen=True)
class End:
    """The facts of a complete clip: *duration_ms*, and the offsets in the file of its *cues* and of its *end*."""

    duration_ms: int
    cues: int
    end: int


def opening(width: int, height: int, began_us: int, end: End | None = None) -> bytes:
    """Return the first bytes of a clip of *width* x *height* pixels that begins at *began_us*, Unix time in µs.

    They have the same length with *end* and without it, and fit into one sector of 512 bytes: rewriting them is safe.
    """
    ebml = _element(
        EBML,
        *(_number(name, value) for name, value in ((0x4286, 1), (0x42F7, 1), (0x42F2, 4), (0x42F3, 8))),
        _element(0x4282, b"matroska"),
        *(_number(name, value) for name, value in ((0x4287, 4), (0x4285, 2))),
    )
    begin = len(ebml) + 12  # of the segment's content: 4 bytes of identifier and 8 of size are before it
    size, seek, duration = _UNKNOWN_SIZE, _void(26), _void(11)
    if end:
        size = struct.pack(">Q", end.end - begin | 1 << 56)
        place = _element(0x53AB, _CUES.to_bytes(4)), _element(0x53AC, struct.pack(">Q", end.cues - begin))
        seek = _element(_SEEK_HEAD, _element(0x4DBB, *place))
        duration = _element(DURATION, struct.pack(">d", end.duration_ms))
    program = f"pi-cam-daemon {__version__}".encode()
    info = _element(
        INFO,
        _number(0x2AD7B1, 1_000_000),  # all other times are milliseconds
        _element(0x4D80, program),
        _element(0x5741, program),
        _element(DATE, struct.pack(">q", (began_us - DATE_EPOCH * 1_000_000) * 1000)),
        duration,
    )
    video = _element(0xE0, _number(0xB0, width), _number(0xBA, height))
    numbers = ((0xD7, _TRACK), (0x73C5, _TRACK), (0x83, 1), (0x9C, 0))  # number, UID, video, no lacing
    track = _element(0xAE, *(_number(*pair) for pair in numbers), _element(0x86, b"V_MJPEG"), video)
    return b"".join((ebml, SEGMENT.to_bytes(4), size, seek, info, _element(_TRACKS, track)))


def cluster(at_ms: int, blocks: Sequence[tuple[int, bytes]]) -> bytes:
    """Return a cluster at *at_ms* of the clip. *blocks* are JPEGs with their times in the clip, in ms."""
    parts = [_number(TIME, at_ms)]
    for ms, jpeg in blocks:
        parts += _begin(BLOCK, len(jpeg) + 4), struct.pack(">BhB", 0x80 | _TRACK, ms - at_ms, _KEYFRAME), jpeg
    return b"".join((_begin(CLUSTER, sum(map(len, parts))), *parts))


def cues(clusters: Sequence[tuple[int, int]], segment: int) -> bytes:
    """Return the index of *clusters*, each with its time in ms and its offset in the file.

    *segment* is the offset of the segment's content, as `segment_begin` finds it.
    """
    return _element(
        _CUES,
        *(
            _element(0xBB, _number(0xB3, ms), _element(0xB7, _number(0xF7, _TRACK), _number(0xF1, offset - segment)))
            for ms, offset in clusters
        ),
    )


def segment_begin(opened: bytes) -> int:
    """Return the offset of the segment's content in an opening."""
    return opened.index(SEGMENT.to_bytes(4)) + 12


def began_us(head: bytes, width: int, height: int) -> int | None:
    """Return when a clip began whose first bytes are *head*; None if `opening` would not write them for this size."""
    at = head.find(_DATE_BEGIN) + len(_DATE_BEGIN)
    if not len(_DATE_BEGIN) <= at <= len(head) - 8:
        return None
    began = struct.unpack_from(">q", head, at)[0] // 1000 + DATE_EPOCH * 1_000_000
    ours = opening(width, height, began)
    begin, tracks = segment_begin(ours), ours.index(_TRACKS.to_bytes(4))
    # between these are size, place of the cues, and duration
    fixed = (0, begin - 8), (begin + 26, tracks - 11), (tracks, len(ours))
    return began if all(head[start:end] == ours[start:end] for start, end in fixed) else None


def cluster_size(head: bytes) -> int:
    """Return the size behind *head*, the 12 bytes that a cluster of `cluster` begins with; 0 if it is none."""
    is_one = len(head) == 12 and head.startswith(CLUSTER_BEGIN)
    return int.from_bytes(head[5:]) if is_one else 0


def _element(name: int, *content: bytes) -> bytes:
    return b"".join((_begin(name, sum(map(len, content))), *content))


def _begin(name: int, size: int) -> bytes:
    """Return identifier and size of an element; the size in one byte, or in eight."""
    identifier = name.to_bytes((name.bit_length() + 7) // 8)
    return identifier + (bytes((0x80 | size,)) if size < 127 else struct.pack(">Q", size | 1 << 56))


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8)))


def _void(size: int) -> bytes:
    """Return an element of *size* bytes that says nothing."""
    return _element(_VOID, bytes(size - 2))
