"""What is asked of a JPEG before it travels: how large it is, whether it is whole, and what of it can be repaired.

Only the header segments are walked in Python, so that a frame of any size costs microseconds. The markers are those of
ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pi_cam_daemon.errors import JpegError

Bytes = bytes | bytearray | memoryview

_SOF = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive: what browsers show
_OTHER_SOF = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_SOI = 0xD8
_SOS = 0xDA
_DHT = 0xC4
_TABLES = (0xDB, 0xDD)  # quantization, restart interval
_APP0, _COMMENT = 0xE0, 0xFE
_PROGRESSIVE = 0xC2  # it has no standard tables
_NO_SIZE = "its picture data starts before its size is known"
_EOI = re.compile(rb"\xff\xd9")
_SOI_OR_EOI = re.compile(rb"\xff[\xd8\xd9]")

# cameras write about ten; the bound keeps a hostile header from costing seconds
_MAX_SEGMENTS = 256
# below this no real picture exists: µStreamer drops such frames of USB cameras, too
_MIN_LENGTH = 125
# A header may claim any size, and turning takes 6 bytes a pixel on a Pi that may have 512 MB; cameras have 12 million.
MOST_PIXELS = 1 << 24
# the least that picture data can say is one bit for each block of 8x8 pixels
_MAX_PIXELS_PER_BYTE = 8 * 64
# how many of one buffer's pictures are looked at
_MAX_PICTURES = 4

# The Huffman tables of T.81 annex K.3, which cameras leave out as Motion JPEG in AVI files does: luminance DC and AC,
# chrominance DC and AC; of each how many codes have 1..16 bits, then the values.
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


def size(jpeg: Bytes) -> tuple[int, int]:
    """The width and height of *jpeg* in pixels, from its header; JpegError if that cannot be read."""
    for marker, start, end in _segments(jpeg):
        if marker in _SOF:
            return _size(jpeg, start, end)
        if marker == _SOS:
            break
    raise JpegError("its picture data starts before its size is known")


def _size(jpeg: Bytes, start: int, end: int) -> tuple[int, int]:
    """What the frame header from *start* to *end* says."""
    if end - start < 6:
        raise JpegError("its frame header is too short")
    height = jpeg[start + 1] << 8 | jpeg[start + 2]
    width = jpeg[start + 3] << 8 | jpeg[start + 4]
    if not width or not height:
        raise JpegError(f"its size is {width}x{height}")
    return width, height


def check(jpeg: Bytes) -> None:
    """Raise JpegError unless *jpeg* is one whole picture: sound headers, picture data, one end marker.

    Zeros after the end are let through: USB cameras pad their buffers (FFD9 00, FFD9 00 00).
    """
    if len(jpeg) < _MIN_LENGTH:
        raise JpegError(f"{len(jpeg)} bytes are too few for a picture")
    size(jpeg)
    scan = next(end for marker, _, end in _segments(jpeg) if marker == _SOS)
    # picture data never holds FFD9: a real FF is followed by 00 there
    eoi = _EOI.search(jpeg, scan)
    if eoi is None:
        raise JpegError("it is cut short: no end marker (FFD9)")
    tail = bytes(jpeg[eoi.end() :])
    if tail.count(0) != len(tail):
        raise JpegError(f"{len(tail)} bytes follow its end marker")


def repair(data: Bytes, *, end_required: bool = True) -> bytes:
    """One whole plain JPEG out of what a camera gave, the same object if it is that already; JpegError without one.

    Standard Huffman tables are added where they lack. Exif goes, for what it says of the orientation counts for some
    viewers only and video.rotation for all; so do thumbnails, which programs that look for FFD8 and FFD9 take for the
    picture, and all that follows the end marker. Of several pictures in one buffer it is the newest whole one.
    Without *end_required* a picture that lacks its end marker gets one: no cheap look can tell whether all of it came.
    """
    rest, newest = bytes(data), None
    if _is_plain(rest):
        return rest
    for _ in range(_MAX_PICTURES):
        try:
            picture, rest = _first(rest, end_required)
        except JpegError:
            if newest is None:
                raise
            break
        newest = picture or newest
        if not rest:
            break
        end_required = True
    if newest is None:
        raise JpegError("it is cut short: another picture starts before its end")
    return newest


def _is_plain(jpeg: bytes) -> bool:
    """Whether there is nothing to repair; where that takes more than a glance, `_first` finds out.

    Every frame of a camera comes through here, 30 ms after the last one and with nothing left of it in the processor's
    caches: how much code runs counts for more than how often.
    """
    at = scan = 2
    sized = tables = False
    last = len(jpeg) - _MIN_LENGTH
    for _ in range(_MAX_SEGMENTS):
        if at > last or jpeg[at] != 0xFF:
            return False
        marker = jpeg[at + 1]
        end = at + 2 + (jpeg[at + 2] << 8 | jpeg[at + 3])
        if marker == _SOS:
            scan = end
            break
        if marker == _DHT:
            tables = True
        elif marker == _SOF[0]:
            pixels = (jpeg[at + 5] << 8 | jpeg[at + 6]) * (jpeg[at + 7] << 8 | jpeg[at + 8])
            if sized or end - at < 10 or not 0 < pixels <= min(MOST_PIXELS, _MAX_PIXELS_PER_BYTE * len(jpeg)):
                return False
            sized = True
        elif marker not in _TABLES and (not _APP0 <= marker <= _COMMENT or _is_unwanted(jpeg, marker, at + 4, end)):
            return False
        if end < at + 4:
            return False
        at = end
    if not (sized and tables and jpeg.startswith(b"\xff\xd8") and jpeg.endswith(b"\xff\xd9")):
        return False
    stop = _SOI_OR_EOI.search(jpeg, scan)
    return stop is not None and stop.end() == len(jpeg)


def _first(jpeg: bytes, end_required: bool) -> tuple[bytes | None, bytes]:
    """The first picture in *jpeg*, repaired, or None if the next one cuts it short; and what follows it."""
    kept = []
    at = scan = 0
    sized = tables = False
    for marker, start, end in _segments(jpeg):
        if marker == _SOS:
            if not sized:
                raise JpegError(_NO_SIZE)
            scan = end
            if not tables:
                kept += [jpeg[at : start - 4], _STANDARD_DHT]
                at = start - 4
            break
        if marker in _SOF:
            _check_size(*_size(jpeg, start, end), len(jpeg))
            sized = True
            tables = tables or marker == _PROGRESSIVE
        elif marker == _DHT:
            tables = True
        elif _is_unwanted(jpeg, marker, start, end):
            kept.append(jpeg[at : start - 4])
            at = end
    stop = _SOI_OR_EOI.search(jpeg, scan)
    if stop is None:
        if end_required:
            raise JpegError("it is cut short: no end marker (FFD9)")
        kept.append(jpeg[at:].rstrip(b"\0").rstrip(b"\xff") + b"\xff\xd9")
        rest = b""
    elif jpeg[stop.end() - 1] == _SOI:
        return None, jpeg[stop.start() :]
    elif stop.end() == len(jpeg) >= _MIN_LENGTH and not kept:
        return jpeg, b""
    else:
        kept.append(jpeg[at : stop.end()])
        rest = jpeg[stop.end() :].lstrip(b"\0")
    picture = b"".join(kept)
    check(picture)
    return picture, rest


def _check_size(width: int, height: int, length: int) -> None:
    """Raise JpegError for what no picture of *length* bytes can be, and for what is more than a Pi can turn."""
    if width * height > MOST_PIXELS:
        raise JpegError(f"{width}x{height} pixels are more than this program takes")
    if width * height > _MAX_PIXELS_PER_BYTE * length:
        raise JpegError(f"it is cut short: {length} bytes cannot hold {width}x{height} pixels")


def _is_unwanted(jpeg: bytes, marker: int, start: int, end: int) -> bool:
    """Whether this header segment is Exif, or application data or a comment in which a thumbnail starts or ends."""
    if not (_APP0 <= marker <= _APP0 + 15 or marker == _COMMENT):
        return False
    return jpeg.startswith(b"Exif\0", start, end) or _SOI_OR_EOI.search(jpeg, start, end) is not None


def _segments(jpeg: Bytes) -> Iterator[tuple[int, int, int]]:
    """Each header segment's marker and where its content starts and ends; never runs out, but raises JpegError."""
    if bytes(jpeg[:2]) != b"\xff\xd8":
        raise JpegError("it does not start with FFD8")
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(jpeg):
            raise JpegError("it ends within its headers")
        if jpeg[at] != 0xFF:
            raise JpegError(f"no marker at byte {at}")
        marker = jpeg[at + 1]
        if marker == 0xFF:  # a fill byte: any number may precede a marker
            at += 1
            continue
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9:
            raise JpegError(f"marker FF{marker:02X} at byte {at} does not belong into headers")
        if marker in _OTHER_SOF:
            raise JpegError(f"its coding (marker FF{marker:02X}) is neither baseline nor progressive")
        length = jpeg[at + 2] << 8 | jpeg[at + 3]
        end = at + 2 + length
        if length < 2 or end > len(jpeg):
            raise JpegError(f"the segment FF{marker:02X} at byte {at} has a wrong length")
        yield marker, at + 4, end
        at = end
    raise JpegError(f"it has more than {_MAX_SEGMENTS} header segments")
