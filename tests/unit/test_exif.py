"""Our Exif data, read by Pillow."""

from __future__ import annotations

import io
import struct
import time
from datetime import datetime

import cv2
import numpy as np
import pytest
from PIL import Image

from pi_cam_daemon.imaging import exif, jpeg
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.orientation import Orientation

MODEL, ORIENTATION, DATE_TIME, DETAILS = 0x0110, 0x0112, 0x0132, 0x8769
EXPOSURE_TIME, ISO, VERSION, TAKEN, OFFSET, OFFSET_TAKEN, MILLISECONDS = (
    0x829A, 0x8827, 0x9000, 0x9003, 0x9010, 0x9011, 0x9291,
)  # fmt: skip


def described(orientation: Orientation, photo: Photo) -> Image.Image:
    upright = orientation.encode(np.zeros((16, 32, 3), np.uint8))
    data = orientation.described(upright, photo)
    jpeg.check(data)
    assert data.count(b"Exif\0\0") == 1
    assert data.count(b"\xff\xd8") == 1, "no thumbnail"
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    return Image.open(io.BytesIO(data))


@pytest.fixture(params=["Asia/Seoul", "America/St_Johns", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    request.addfinalizer(time.tzset)
    request.addfinalizer(lambda: monkeypatch.delenv("TZ", raising=False))
    return str(request.param)


def test_exif_has_time_exposure_and_sensitivity(zone: str) -> None:
    photo = Photo(time.monotonic_ns() - 5_250_000_000, "imx708", 9_998, 160)
    moment = time.time() - 5.25
    tags = described(Orientation(0, hflip=False, vflip=False), photo).getexif()
    assert tags[MODEL] == "imx708"
    assert tags[ORIENTATION] == 1
    details = tags.get_ifd(DETAILS)
    assert float(details[EXPOSURE_TIME]) == pytest.approx(0.009998)
    assert details[ISO] == 160
    assert details[VERSION] == b"0232"
    assert tags[DATE_TIME] == details[TAKEN]
    assert details[OFFSET] == details[OFFSET_TAKEN]
    local = datetime.strptime(details[TAKEN], "%Y:%m:%d %H:%M:%S")
    said = datetime.fromisoformat(f"{local.isoformat()}.{details[MILLISECONDS]}{details[OFFSET_TAKEN]}")
    assert said.timestamp() == pytest.approx(moment, abs=0.5), zone


def test_unknown_values_are_left_out_of_exif() -> None:
    tags = described(Orientation(0, hflip=False, vflip=False), Photo(time.monotonic_ns())).getexif()
    assert MODEL not in tags
    assert {EXPOSURE_TIME, ISO}.isdisjoint(tags.get_ifd(DETAILS))


@pytest.mark.parametrize(
    ("rotation", "method", "mark", "size"),
    [(90, "pixels", 1, (16, 32)), (90, "exif", 6, (32, 16)), (270, "exif", 8, (32, 16)), (0, "exif", 1, (32, 16))],
)
def test_a_picture_is_turned_by_its_pixels_or_by_its_mark_and_not_by_both(
    rotation: int, method: str, mark: int, size: tuple[int, int]
) -> None:
    orientation = Orientation(rotation, hflip=False, vflip=False, method=method)
    picture = described(orientation, Photo(time.monotonic_ns(), "a camera whose name is long", 1, 70_000))
    assert picture.size == size
    assert picture.getexif()[ORIENTATION] == mark
    assert picture.getexif().get_ifd(DETAILS)[ISO] == 65_535, "the most that this tag can say"


def tiff(order: str, *entries: tuple[int, int, int, bytes], at: int = 8) -> bytes:
    """Return an Exif segment with these entries (tag, type, count, four bytes)."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    table = b"".join(struct.pack(f"{order}HHL", *entry[:3]) + entry[3] for entry in entries)
    content = b"Exif\0\0" + mark + struct.pack(f"{order}LH", at, len(entries)) + table + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


MODEL_ENTRY = (MODEL, 2, 4, b"abc\0")


@pytest.mark.parametrize(
    ("segment", "mark"),
    [
        pytest.param(tiff(">", MODEL_ENTRY, (ORIENTATION, 3, 1, b"\0\6\0\0")), 6, id="big-endian"),
        pytest.param(tiff("<", MODEL_ENTRY, (ORIENTATION, 3, 1, b"\6\0\0\0")), 6, id="little-endian"),
        pytest.param(tiff(">", (ORIENTATION, 4, 1, b"\0\0\0\3")), 3, id="a long number"),
        pytest.param(tiff(">", (ORIENTATION, 3, 1, b"\0\0\0\0")), 1, id="0: unknown"),
        pytest.param(tiff(">", (ORIENTATION, 3, 1, b"\0\x09\0\0")), 1, id="9: none of the eight"),
        pytest.param(tiff(">", (ORIENTATION, 2, 1, b"6\0\0\0")), 1, id="text"),
        pytest.param(tiff(">", MODEL_ENTRY), 1, id="not there"),
        pytest.param(tiff(">", MODEL_ENTRY, at=2**32 - 1), 1, id="a directory behind the end"),
        pytest.param(tiff(">", *[MODEL_ENTRY] * 5000), 1, id="a directory without end"),
        pytest.param(b"\xff\xe1\0\x08Exif\0\0", 1, id="empty"),
        pytest.param(b"\xff\xe1\0\x0cExif\0\0JUNK", 1, id="no TIFF"),
        *(pytest.param(exif.segment(mark), mark, id=f"our own: {mark}") for mark in range(1, 9)),
    ],
)
def test_the_orientation_of_a_cameras_exif_is_read(segment: bytes, mark: int) -> None:
    assert exif.orientation(segment) == mark


def test_exif_that_is_cut_short_is_upright() -> None:
    whole = tiff("<", MODEL_ENTRY, (ORIENTATION, 3, 1, b"\6\0\0\0"))
    assert {exif.orientation(whole[:length]) for length in range(len(whole) - 8)} == {1}
