"""Our Exif data, read by Pillow."""

from __future__ import annotations

import io
import time
from datetime import datetime

import cv2
import numpy as np
import pytest
from PIL import Image

from pi_cam_daemon.imaging import jpeg
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
    exif = described(Orientation(0, hflip=False, vflip=False), photo).getexif()
    assert exif[MODEL] == "imx708"
    assert exif[ORIENTATION] == 1
    details = exif.get_ifd(DETAILS)
    assert float(details[EXPOSURE_TIME]) == pytest.approx(0.009998)
    assert details[ISO] == 160
    assert details[VERSION] == b"0232"
    assert exif[DATE_TIME] == details[TAKEN]
    assert details[OFFSET] == details[OFFSET_TAKEN]
    local = datetime.strptime(details[TAKEN], "%Y:%m:%d %H:%M:%S")
    said = datetime.fromisoformat(f"{local.isoformat()}.{details[MILLISECONDS]}{details[OFFSET_TAKEN]}")
    assert said.timestamp() == pytest.approx(moment, abs=0.5), zone


def test_unknown_values_are_left_out_of_exif() -> None:
    exif = described(Orientation(0, hflip=False, vflip=False), Photo(time.monotonic_ns())).getexif()
    assert MODEL not in exif
    assert {EXPOSURE_TIME, ISO}.isdisjoint(exif.get_ifd(DETAILS))


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
