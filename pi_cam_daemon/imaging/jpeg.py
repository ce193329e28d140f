"""Parses the header of a JPEG, checks that the picture is whole, and repairs the usual faults of cameras.

Only the header segments are read, so a frame of any size takes microseconds. The markers are those of ITU-T T.81.
"""

from __future__ import annotations

import re

from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import exif

Bytes = bytes | bytearray | memoryview

_SOF = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive: the kinds that browsers show
_PROGRESSIVE = 0xC2  # the standard Huffman tables do not apply to it
_OTHER_SOF = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_DHT = 0xC4
_SOI = 0xD8
_SOS = 0xDA
_DQT = 0xDB  # from here up to _APP0: quantization tables, restart interval and the like
_APP0 = 0xE0  # from here up: application data and comments
_FILL = 0xFF  # any number of these bytes may precede a marker
_EOI = re.compile(rb"\xff\xd9")
_SOI_OR_EOI = re.compile(rb"\xff[\xd8\xd9]")
_START = re.compile(rb"\xff\xd8(?=\xff[^\xd8\xd9])")

# Cameras write about ten. The limit keeps a hostile header from taking seconds.
_MAX_SEGMENTS = 256
# No real picture is smaller. µStreamer drops such frames of USB cameras, too.
_MIN_LENGTH = 125
# A header may claim any size. Turning a picture takes 6 bytes per pixel, and a Pi may have 512 MB.
MOST_PIXELS = 1 << 24
# Picture data has at least one bit per block of 8x8 pixels.
_MAX_PIXELS_PER_BYTE = 8 * 64
# zeros behind a picture without an end marker; fewer may be its data
_PADDING = bytes(16)
# how many pictures, or starts of pictures, of one buffer are examined
_MAX_PICTURES = 8

# The Huffman tables of T.81 annex K.3. Cameras omit them, as Motion JPEG in AVI files does. Luminance DC and AC, then
# chrominance DC and AC: for each the number of codes of 1 to 16 bits, then the values.
_STANDARD_DHT = bytes.fromhex(
    """
    ffc4 01a2
    00 00010501010101010100000000000000
    000102030405060708090a0b
    10 0002010303020403050504040000017d
    01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435
    363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798
    999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4
    f5f6f7f8f9fa
    01 00030101010101010101010000000000
    000102030405060708090a0b
    11 00020102040403040705040400010277
    000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a
    35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a9293949596
    9798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4
    f5f6f7f8f9fa
    """
)


# Width and height in pixels; True if there are Huffman tables; start and end of each segment of application data or
# comment; offset of the marker SOS, and of the picture data. A class would take 5 % of the time of `repair`.
Header = tuple[int, int, bool, list[tuple[int, int]], int, int]


# A plain JPEG; the orientation (1 to 8) that its Exif asked for before that was removed; the header of the camera's
# data, whose offsets are right for the JPEG only if nothing was changed.
Repaired = tuple[bytes, int, Header]


def parse(jpeg: Bytes) -> Header:
    """Parse the segments of *jpeg* up to its picture data; JpegError if one of them is invalid.

    It runs once per frame, with cold processor caches: the amount of code matters more than the number of iterations.
    """
    if jpeg[:2] != b"\xff\xd8":
        raise JpegError("it does not start with FFD8")
    width = height = 0
    has_tables = False
    metadata = []
    at = 2
    last = len(jpeg) - 4  # the last offset at which a segment can begin
    for _ in range(_MAX_SEGMENTS):
        if at > last:
            raise JpegError("it ends within its headers")
        if jpeg[at] != 0xFF:
            raise JpegError(f"no marker at byte {at}")
        marker = jpeg[at + 1]
        if marker == _FILL:
            at += 1
            continue
        end = at + 2 + (jpeg[at + 2] << 8 | jpeg[at + 3])
        if end < at + 4 or end > last:
            raise _invalid(marker, at)
        if marker == _DHT:
            has_tables = True
        elif marker >= _APP0:
            metadata.append((at, end))
        elif marker == _SOS:
            if not width:
                raise JpegError("its picture data starts before its size is known")
            return width, height, has_tables, metadata, at, end
        elif marker in _SOF:
            if end < at + 10:
                raise JpegError("its frame header is too short")
            if width:
                raise JpegError("it has two frame headers")
            height = jpeg[at + 5] << 8 | jpeg[at + 6]
            width = jpeg[at + 7] << 8 | jpeg[at + 8]
            if not width or not height:
                raise JpegError(f"its size is {width}x{height}")
            has_tables = has_tables or marker == _PROGRESSIVE
        elif marker < _DQT:
            raise _invalid(marker, at)
        at = end
    raise JpegError(f"it has more than {_MAX_SEGMENTS} header segments")


def _invalid(marker: int, at: int) -> JpegError:
    if marker in _OTHER_SOF:
        return JpegError(f"its coding (marker FF{marker:02X}) is neither baseline nor progressive")
    if marker >= _DQT or marker in (*_SOF, _DHT, _SOS):
        return JpegError(f"the segment FF{marker:02X} at byte {at} has a wrong length")
    return JpegError(f"marker FF{marker:02X} at byte {at} does not belong into headers")


def size(jpeg: Bytes) -> tuple[int, int]:
    """Return the width and height of *jpeg* in pixels; JpegError if its header is invalid."""
    return parse(jpeg)[:2]


def check(jpeg: Bytes) -> None:
    """Raise JpegError unless *jpeg* is one whole picture: valid headers, picture data, one end marker.

    Zeros may follow the end marker, since USB cameras pad their buffers.
    """
    if len(jpeg) < _MIN_LENGTH:
        raise JpegError(f"{len(jpeg)} bytes are too few for a picture")
    *_, data = parse(jpeg)
    # picture data never contains FFD9: each FF in it is followed by 00
    eoi = _EOI.search(jpeg, data)
    if eoi is None:
        raise JpegError("it is cut short: no end marker (FFD9)")
    tail = bytes(jpeg[eoi.end() :])
    if tail.count(0) != len(tail):
        raise JpegError(f"{len(tail)} bytes follow its end marker")


def repair(data: Bytes, *, end_required: bool = True) -> bytes:
    """Return the plain JPEG of `repaired` alone."""
    return repaired(data, end_required=end_required)[0]


def repaired(data: Bytes, *, end_required: bool = True) -> Repaired:
    """Return the newest whole picture in a camera's *data* as a plain JPEG; JpegError if there is none.

    Data before its start and behind its end marker is removed. Missing Huffman tables are added. Exif is removed: only
    some viewers follow its orientation, while video.rotation is for all. Thumbnails are removed: programs that search
    for FFD8 and FFD9 take them for the picture. Without *end_required* a missing end marker is added, although data may
    be missing too. If nothing has to be changed, the JPEG is *data* itself.
    """
    rest, newest = bytes(data), None
    refusal, is_late = "", False  # not the error itself: its traceback would keep this data until the next collection
    for _ in range(_MAX_PICTURES):
        try:
            picture, rest = _first(rest, end_required)
        except JpegError as error:
            refusal, is_late = refusal or str(error), is_late or isinstance(error, _LateStartError)
            start = _START.search(rest, 1)
            if newest or not start:
                break
            rest = rest[start.start() :]
            continue
        # behind a broken header it may be a thumbnail: more than its own length follows it
        if picture and not (refusal and len(rest) > len(picture[0])):
            newest = picture
        if not rest:
            break
        end_required = True
    if newest is None and is_late:  # it was no start, but a part of the metadata
        newest, _ = _first(bytes(data), end_required, late_start=True)
    if newest is None:
        raise JpegError(refusal or "it is cut short: another picture starts before its end")
    return newest


class _LateStartError(JpegError):
    """Another picture seems to start within the header."""


def _first(jpeg: bytes, end_required: bool, *, late_start: bool = False) -> tuple[Repaired | None, bytes]:
    """Return the first picture in *jpeg*, repaired, and the data behind it. A picture cut short by the next is None.

    _LateStartError if the next one cuts its header short, unless a *late_start* is allowed; JpegError for other faults.
    """
    header = width, height, has_tables, metadata, scan, data = parse(jpeg)
    if not late_start and _START.search(jpeg, 2, data + 4) and _has_late_start(jpeg, metadata, data):
        raise _LateStartError("it is cut short: another picture starts within its header")
    pixels = width * height
    if pixels > MOST_PIXELS:
        raise JpegError(f"{width}x{height} pixels are more than this program takes")
    if pixels > _MAX_PIXELS_PER_BYTE * len(jpeg):
        raise JpegError(f"it is cut short: {len(jpeg)} bytes cannot hold {width}x{height} pixels")
    kept = []
    at = 0
    orientation = 0
    for start, end in metadata:
        is_exif = jpeg.startswith(b"Exif\0", start + 4)
        if is_exif or _SOI_OR_EOI.search(jpeg, start + 4, end):
            kept.append(jpeg[at:start])
            at = end
        if is_exif and not orientation:
            orientation = exif.orientation(jpeg[start:end])
    if not has_tables:
        kept += [jpeg[at:scan], _STANDARD_DHT]
        at = scan
    stop = _SOI_OR_EOI.search(jpeg, data)
    if stop is None:
        if end_required:
            raise JpegError("it is cut short: no end marker (FFD9)")
        body = jpeg[at:]
        if body.endswith(_PADDING):
            body = body.rstrip(b"\0")
        kept.append(body.rstrip(b"\xff") + b"\xff\xd9")
        rest = b""
    elif jpeg[stop.end() - 1] == _SOI:
        return None, jpeg[stop.start() :]
    elif stop.end() == len(jpeg) >= _MIN_LENGTH and not kept:
        return (jpeg, 1, header), b""
    else:
        kept.append(jpeg[at : stop.end()])
        rest = jpeg[stop.end() :].lstrip(b"\0")
    picture = b"".join(kept)
    check(picture)
    return (picture, orientation or 1, header), rest


def _has_late_start(jpeg: bytes, metadata: list[tuple[int, int]], data: int) -> bool:
    """Return True if another picture starts in the header of *jpeg*, whose own rest is lost; no thumbnail counts."""
    at = 2
    for first, end in [*metadata, (data + 2, data + 2)]:
        if _START.search(jpeg, at, first + 2):  # it looks two bytes ahead
            return True
        at = first
        while start := _START.search(jpeg, at, end + 2):
            eoi = _EOI.search(jpeg, start.end(), end)
            if eoi is None:
                return True
            at = eoi.end()
        at = end
    return False
