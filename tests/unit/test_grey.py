"""Small grey pictures, of JPEGs of any kind, with libjpeg-turbo and without it."""

from __future__ import annotations

import ctypes

import cv2
import numpy as np
import pytest

from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import exif, grey
from pi_cam_daemon.imaging.orientation import Orientation
from tests.unit.test_orientation import SAMPLINGS, Pixels, encoded, scene


@pytest.fixture(params=["libjpeg-turbo", "OpenCV"])
def of_jpeg(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> grey.OfJpeg:
    made = grey.OfJpeg()
    if request.param == "libjpeg-turbo":
        assert made._decoder, "the library is installed here"
        return made

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", missing)
        assert made._decoder is None
    return made


def wanted(pixels: Pixels, width: int, height: int) -> Pixels:
    whole = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1280, 720, (160, 90)),
        (1920, 1080, (160, 90)),
        (640, 480, (160, 120)),
        (480, 640, (120, 160)),
        (333, 501, (106, 160)),
        (160, 120, (160, 120)),
        (64, 48, (64, 48)),
        (16, 16, (16, 16)),
    ],
)
@pytest.mark.parametrize("sampling", [*SAMPLINGS, "progressive"])
def test_a_jpeg_of_any_kind_and_size_is_made_grey(
    of_jpeg: grey.OfJpeg, width: int, height: int, expected: tuple[int, int], sampling: str
) -> None:
    pixels = scene(width, height)
    picture = encoded(pixels, sampling if sampling in SAMPLINGS else "4:2:0", progressive=sampling == "progressive")
    made = of_jpeg(picture)
    assert made.shape == expected[::-1]
    assert np.abs(made.astype(int) - wanted(pixels, *expected)).mean() < 6


@pytest.mark.parametrize("mark", range(1, 9))
def test_a_mark_for_viewers_is_obeyed(of_jpeg: grey.OfJpeg, mark: int) -> None:
    pixels = scene(320, 240)
    picture = encoded(pixels)
    marked = picture[:2] + exif.segment(mark) + picture[2:]
    upright = Orientation(0, False, False).after(mark).array(pixels)
    height, width = upright.shape[0] // 2, upright.shape[1] // 2
    assert np.abs(of_jpeg(marked).astype(int) - wanted(upright, width, height)).mean() < 6


@pytest.mark.parametrize("picture", [encoded(scene(320, 240))[:200], b"\xff\xd8\xff\xd9", b"", b"\xff\xd8" + bytes(99)])
def test_what_is_no_picture_is_a_jpeg_error(of_jpeg: grey.OfJpeg, picture: bytes) -> None:
    with pytest.raises(JpegError):
        of_jpeg(picture)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flat", [False, True])
def test_pixels_are_made_grey_small_and_upright(rotation: int, flat: bool) -> None:
    pixels = scene(320, 180)
    orientation = Orientation(rotation, True, False)
    offered = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.uint8) if flat else pixels
    made = grey.of_pixels(offered, orientation)
    upright = orientation.array(pixels)
    assert made.shape == (upright.shape[0] // 2, upright.shape[1] // 2)
    assert np.abs(made.astype(int) - wanted(upright, made.shape[1], made.shape[0])).mean() < 3
