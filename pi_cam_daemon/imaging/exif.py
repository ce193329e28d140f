"""Writes Exif segments (CIPA DC-008 2.32) and reads the orientation of a camera's.

They have no thumbnails: programs that search for FFD8 take those for pictures.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pi_cam_daemon.imaging.local_time import local_time

# Exif's types of a value, and the size of each in bytes
_ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 2, 3, 4, 5, 7
_SIZES = {_ASCII: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8, _UNDEFINED: 1}
_START = 8  # offset of the first directory, behind the TIFF header

# A phone writes about ten entries. The limit keeps a hostile directory short.
_MOST_ENTRIES = 128
_ORIENTATION = 0x0112

_Entry = tuple[int, int, bytes]  # tag, type, value


@dataclass(frozen=True)
class Photo:
    """Facts about how a picture was taken: the time (CLOCK_MONOTONIC in ns), and what else is known."""

    captured_ns: int
    camera: str = ""
    exposure_us: int | None = None
    iso: int | None = None


def segment(orientation: int, photo: Photo | None = None) -> bytes:
    """Return the APP1 segment with this *orientation* (1 to 8; 1 is upright) and, if given, the facts of *photo*."""
    main: list[_Entry] = [(_ORIENTATION, _SHORT, struct.pack(">H", orientation))]
    details = b""
    if photo:
        moment = time.time() - (time.monotonic_ns() - photo.captured_ns) / 1e9
        local = local_time(moment)
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


def orientation(segment: bytes) -> int:
    """Return the orientation (1 to 8) that the APP1 *segment* with Exif asks for; 1 (upright) if it asks for none."""
    tiff = segment[10:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if not order:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, _MOST_ENTRIES), 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHL", tiff, entry)
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                (value,) = struct.unpack_from(order + {_SHORT: "H", _LONG: "L"}[kind], tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # it is cut short
        pass
    return 1


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
    """Return the directory of *entries* (sorted by tag) at the offset *at*, and behind it the values over 4 bytes."""
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
