"""What a picture's Exif segment says: CIPA DC-008, version 2.32. Written here, never read.

There is no thumbnail: programs that look for the next FFD8 stumble on those.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

# how a value is stored, by Exif's number for it
_ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 2, 3, 4, 5, 7
_SIZES = {_ASCII: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8, _UNDEFINED: 1}
_START = 8  # the first directory follows the header of the TIFF file that all this is

_Entry = tuple[int, int, bytes]  # tag, how it is stored, value


@dataclass(frozen=True)
class Photo:
    """How a picture was taken: by which *camera*, and when (CLOCK_MONOTONIC in ns).

    *exposure_us* and *iso* are None, and *camera* is empty, where they are not known.
    """

    captured_ns: int
    camera: str = ""
    exposure_us: int | None = None
    iso: int | None = None


def segment(orientation: int, photo: Photo | None = None) -> bytes:
    """The APP1 segment for a picture of this *orientation* (1 to 8, 1 is upright) and, if given, all about *photo*."""
    main: list[_Entry] = [(0x0112, _SHORT, struct.pack(">H", orientation))]
    details = b""
    if photo:
        moment = time.time() - (time.monotonic_ns() - photo.captured_ns) / 1e9
        local = time.localtime(moment)
        date, offset = time.strftime("%Y:%m:%d %H:%M:%S", local), time.strftime("%z", local)
        taken = _text(date)
        if photo.camera:
            main.insert(0, (0x0110, _ASCII, _text(photo.camera)))
        main.append((0x0132, _ASCII, taken))
        at = _START + len(_directory([*main, (0x8769, _LONG, bytes(4))], _START))
        main.append((0x8769, _LONG, struct.pack(">L", at)))
        details = _directory([*_details(photo, taken, f"{offset[:3]}:{offset[3:5]}", int(moment % 1 * 1000))], at)
    content = b"Exif\0\0MM\0*" + struct.pack(">L", _START) + _directory(main, _START) + details
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def _details(photo: Photo, taken: bytes, offset: str, milliseconds: int) -> Iterator[_Entry]:
    if photo.exposure_us is not None:
        yield 0x829A, _RATIONAL, struct.pack(">LL", photo.exposure_us, 1_000_000)
    if photo.iso is not None:
        yield 0x8827, _SHORT, struct.pack(">H", min(photo.iso, 65535))
    yield 0x9000, _UNDEFINED, b"0232"
    yield 0x9003, _ASCII, taken
    yield 0x9010, _ASCII, _text(offset)
    yield 0x9011, _ASCII, _text(offset)
    yield 0x9291, _ASCII, _text(f"{milliseconds:03}")


def _directory(entries: list[_Entry], at: int) -> bytes:
    """The directory of *entries*, which have to be in the order of their tags, and behind it what is too long for it.

    *at* is where it will stand.
    """
    heap_at = at + 2 + 12 * len(entries) + 4
    table, heap = struct.pack(">H", len(entries)), b""
    for tag, kind, value in entries:
        table += struct.pack(">HHL", tag, kind, len(value) // _SIZES[kind])
        if len(value) <= 4:
            table += value.ljust(4, b"\0")
        else:
            table += struct.pack(">L", heap_at + len(heap))
            heap += value + b"\0" * (len(value) % 2)
    return table + bytes(4) + heap


def _text(text: str) -> bytes:
    return text[:200].encode("ascii", "replace") + b"\0"
