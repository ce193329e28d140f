"""Every turn and flip compared with numpy's, on decoded pixels."""

import itertools
import os
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pi_cam_daemon.errors import Cause, JpegError, SourceError
from pi_cam_daemon.imaging import exif, jpeg
from pi_cam_daemon.imaging.orientation import Orientation

Pixels = npt.NDArray[np.uint8]

EVERY_ORIENTATION = list(itertools.product((0, 90, 180, 270), (False, True), (False, True)))
# by the sampling of their colours, and as OpenCV calls it
SAMPLINGS = {"4:4:4": 0x111111, "4:2:2": 0x211111, "4:4:0": 0x121111, "4:2:0": 0x221111, "4:1:1": 0x411111}


def scene(width: int, height: int) -> Pixels:
    """Return a picture with four corners of different colours and no symmetry; a single pixel is not black."""
    pixels = np.full((height, width, 3), (190, 150, 110), np.uint8)
    pixels[: height // 2, : width // 2] = (40, 40, 200)
    pixels[: height // 2, width // 2 :] = (40, 200, 40)
    pixels[height // 2 :, : width // 2] = (200, 40, 40)
    return cv2.GaussianBlur(pixels, (0, 0), 2).astype(np.uint8)


def turned(pixels: Pixels, rotation: int, hflip: bool, vflip: bool) -> Pixels:
    """Return numpy's result: flips first, then clockwise turns."""
    if hflip:
        pixels = pixels[:, ::-1]
    if vflip:
        pixels = pixels[::-1]
    return np.rot90(pixels, -(rotation // 90))


def encoded(pixels: Pixels, sampling: str = "4:2:0", progressive: bool = False) -> bytes:
    options = (cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive))
    options += (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling])
    return cv2.imencode(".jpg", pixels, options)[1].tobytes()


def decoded(data: bytes, flags: int = cv2.IMREAD_COLOR) -> Pixels:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags).astype(np.uint8)


def difference(one: Pixels, other: Pixels) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


def brightness(pixels: Pixels) -> Pixels:
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.uint8)


@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
@pytest.mark.parametrize(
    ("sampling", "size"),
    # each sampling with a width and a height that are no whole blocks of it
    [("4:4:4", (33, 47)), ("4:2:2", (70, 50)), ("4:4:0", (7, 200)), ("4:2:0", (192, 108)), ("4:1:1", (70, 50))],
    ids=str,
)
def test_a_jpeg_of_any_size_and_sampling_is_turned_to_the_pixel(
    rotation: int, hflip: bool, vflip: bool, sampling: str, size: tuple[int, int]
) -> None:
    data = encoded(scene(*size), sampling)
    orientation = Orientation(rotation, hflip, vflip, quality=95)
    result = orientation.jpeg(data)
    jpeg.repair(result)
    assert jpeg.size(result) == orientation.size(*size)
    shown, wanted = decoded(result), turned(decoded(data), rotation, hflip, vflip)
    # 0.15 at most; wrong by one row or column it would be 0.36
    assert difference(brightness(shown), brightness(wanted)) < 0.25
    # what is encoded anew has 4:2:0, so its colours run a little; the wrong way round it would be dozens
    assert difference(shown, wanted) < 7


@pytest.mark.parametrize(
    ("rotation", "hflip", "vflip"), [(90, False, False), (180, False, False), (270, False, True), (0, True, False)]
)
@pytest.mark.parametrize(("sampling", "size"), [("4:2:0", (1280, 720)), ("4:2:2", (1920, 1080)), ("4:2:0", (640, 480))])
def test_the_usual_sizes_are_turned_without_loss(
    rotation: int, hflip: bool, vflip: bool, sampling: str, size: tuple[int, int]
) -> None:
    data = encoded(scene(*size), sampling)
    there = Orientation(rotation, hflip, vflip).jpeg(data)
    back = Orientation(0, hflip, vflip).jpeg(Orientation(-rotation % 360, False, False).jpeg(there))
    assert np.array_equal(decoded(back), decoded(data))


@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
def test_pixels_are_turned_as_numpy_turns_them(rotation: int, hflip: bool, vflip: bool) -> None:
    pixels = scene(33, 20)
    assert np.array_equal(Orientation(rotation, hflip, vflip).array(pixels), turned(pixels, rotation, hflip, vflip))


@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
def test_by_exif_the_pixels_stay_and_decoders_turn_them(rotation: int, hflip: bool, vflip: bool) -> None:
    data = encoded(scene(70, 50))
    orientation = Orientation(rotation, hflip, vflip, "exif")
    result = orientation.jpeg(data)
    jpeg.check(result)
    assert orientation.size(70, 50) == jpeg.size(result) == (70, 50)
    unmarked = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    assert np.array_equal(decoded(result, unmarked), decoded(data))
    assert np.array_equal(decoded(result), turned(decoded(data), rotation, hflip, vflip))
    assert result.count(b"\xff\xd8") == result.count(b"\xff\xd9") == 1


@pytest.mark.parametrize("mark", range(1, 9))
@pytest.mark.parametrize("method", ["pixels", "exif"])
def test_a_picture_is_turned_by_its_own_exif_and_then_as_configured(method: str, mark: int) -> None:
    data = encoded(scene(64, 48))
    marked = data[:2] + exif.segment(mark) + data[2:]
    plain, found, _ = jpeg.repaired(marked)
    assert (plain, found) == (data, mark)
    orientation = Orientation(90, True, False, method, quality=95).after(found)
    result = orientation.jpeg(plain)
    assert jpeg.size(result) == orientation.size(64, 48)
    assert difference(decoded(result), turned(decoded(marked), 90, True, False)) < 1
    for turn in EVERY_ORIENTATION:
        pixels = Orientation(*turn).after(mark).array(decoded(data))
        assert np.array_equal(pixels, turned(decoded(marked), *turn)), turn


@pytest.mark.parametrize("method", ["pixels", "exif"])
def test_pixels_are_encoded_upright(method: str) -> None:
    pixels = scene(70, 50)
    for turn in EVERY_ORIENTATION:
        orientation = Orientation(*turn, method, quality=95)
        result = orientation.encode(pixels)
        assert jpeg.size(result) == orientation.size(70, 50)
        assert difference(decoded(result), turned(pixels, *turn)) < 4, turn


def test_the_quality_is_the_one_asked_for() -> None:
    lengths = [len(Orientation(90, False, False, quality=quality).encode(scene(320, 240))) for quality in (10, 50, 95)]
    assert lengths == sorted(set(lengths))


def test_pixels_too_large_for_a_jpeg_are_a_settings_error() -> None:
    with pytest.raises(SourceError, match="65536x16") as caught:
        Orientation(0, False, False).encode(np.zeros((16, 65536, 3), np.uint8))
    assert caught.value.cause is Cause.SETTINGS


@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
def test_a_turn_that_changes_nothing_returns_the_same_picture(rotation: int, hflip: bool, vflip: bool) -> None:
    pixels = scene(33, 20)
    orientation = Orientation(rotation, hflip, vflip)
    after = turned(pixels, rotation, hflip, vflip)
    assert orientation.identity is np.array_equal(after, pixels)
    assert orientation.size(33, 20) == (after.shape[1], after.shape[0])
    if orientation.identity:
        data = encoded(pixels)
        assert orientation.jpeg(data) is data
        assert orientation.array(pixels) is pixels


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param({"progressive": True}, id="progressive"),
        pytest.param({"grey": True}, id="grey"),
    ],
)
def test_other_kinds_of_jpeg_are_turned(kind: dict[str, bool]) -> None:
    pixels = scene(70, 50)
    if kind.get("grey"):
        data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))[1].tobytes()
    else:
        data = encoded(pixels, progressive=True)
    assert difference(decoded(Orientation(90, False, False).jpeg(data)), np.rot90(decoded(data), -1)) < 4


def test_existing_exif_does_not_turn_pixels_a_second_time() -> None:
    data = encoded(scene(64, 48))
    marked = Orientation(90, False, False, "exif").jpeg(data)
    assert decoded(Orientation(180, False, False).jpeg(marked)).shape == (48, 64, 3)


def test_a_damaged_picture_is_turned_with_its_damage() -> None:
    data = encoded(scene(640, 480))
    flawed = data[: len(data) * 3 // 4] + b"\xff\xd9"
    result = decoded(Orientation(90, False, False).jpeg(flawed))
    assert difference(result[:, 320:], np.rot90(decoded(data), -1)[:, 320:]) < 1, "its upper half is sound"


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xd9", b"<html>" * 100, bytes(1000), b"\xff\xd8" + bytes(500)])
def test_invalid_data_is_a_jpeg_error(data: bytes) -> None:
    with pytest.raises(JpegError):
        Orientation(90, False, False).jpeg(data)


def test_a_thousand_pictures_leave_no_memory_behind() -> None:
    data = encoded(scene(320, 240))

    def turn(count: int) -> int:
        for _ in range(count):
            Orientation(90, False, False).jpeg(data)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = turn(200)
    assert turn(1000) - before < 500 * len(data), "a thousand handles and pictures"


def test_the_library_is_installed_here() -> None:
    """Without it the tests above would test only the slow way."""
    assert Orientation(90, False, False)._lossless


def test_a_jpeg_with_too_many_scans_is_refused_at_once() -> None:
    # libjpeg-turbo has a limit of its own; OpenCV, which is asked next, would decode each of them
    encoded, data = cv2.imencode(".jpg", np.zeros((1024, 1024, 3), np.uint8), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    assert encoded
    picture = data.tobytes()
    scan = picture[picture.rindex(b"\xff\xda") : -2]
    started = time.process_time()
    with pytest.raises(JpegError, match="scans"):
        Orientation(90, False, False).jpeg(picture[:-2] + scan * 2000 + b"\xff\xd9")
    assert time.process_time() - started < 1
