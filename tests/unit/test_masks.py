"""Masks cover each pixel of their rectangles, at any size and turn, and leave no trace of what is below."""

from __future__ import annotations

import ctypes
import io
import itertools
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pi_cam_daemon.camera.csi_small import YUV
from pi_cam_daemon.camera.usb_pictures import pictures
from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import black_blocks, jpeg
from pi_cam_daemon.imaging.black_blocks import BlackBlocks
from pi_cam_daemon.imaging.masks import Masks
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.imaging.shrink import Shrink
from tests.kit.sources import SMALL, Run, video
from tests.unit.test_orientation import EVERY_ORIENTATION, SAMPLINGS, Pixels, decoded, encoded, scene, turned

RECTANGLES = [[0.23, 0.31, 0.22, 0.3], [0.7, 0.8, 0.3, 0.2]]
DARK = 40  # where a mask ends within a block, JPEG blurs its edge
EVERY_TURN = list(itertools.product((False, True), repeat=3))
TO_GREY = cv2.COLOR_BGR2GRAY


of = Masks.of
MASKS = of(RECTANGLES)


# -- geometry


@st.composite
def rectangles(draw: st.DrawFn) -> list[float]:
    x, y = (draw(st.floats(0, 1, exclude_max=True)) for _ in range(2))
    width, height = (draw(st.floats(0, 1 - at, exclude_min=True)) for at in (x, y))
    return [x, y, width, height]


sides = st.integers(1, 2000)
units = st.sampled_from([1, 8, 16, 32])


def exact(rectangle: list[float]) -> list[Fraction]:
    """Return what the decimals of *rectangle* say."""
    return [Fraction(str(side)) for side in rectangle]


def touched(rectangle: list[float], width: int, height: int) -> Pixels:
    """Return True for each pixel of which a part lies in *rectangle*, found pixel by pixel."""
    x, y, wide, high = exact(rectangle)
    across = [x * width < column + 1 and column < (x + wide) * width for column in range(width)]
    down = [y * height < row + 1 and row < (y + high) * height for row in range(height)]
    return np.outer(down, across)


@given(rectangles(), sides, sides, units, units)
def test_a_box_is_its_rectangle_rounded_outwards_to_whole_units(
    rectangle: list[float], width: int, height: int, wide: int, high: int
) -> None:
    x, y, across, down = exact(rectangle)
    ((left, top, right, bottom),) = of([rectangle]).boxes(width, height, wide, high)
    assert not (left % wide or right % wide or top % high or bottom % high)
    assert left <= x * width < left + wide and right - wide < min(x + across, 1) * width <= right
    assert top <= y * height < top + high and bottom - high < min(y + down, 1) * height <= bottom


@settings(max_examples=60)
@given(
    st.lists(rectangles(), min_size=1, max_size=3), st.integers(1, 24), st.integers(1, 24), st.sampled_from(EVERY_TURN)
)
def test_what_is_black_before_a_turn_covers_each_pixel_after_it(
    found: list[list[float]], width: int, height: int, turn: tuple[bool, bool, bool]
) -> None:
    orientation = Orientation(90 * turn[2], *turn[:2], masks=of(found))
    pixels = np.full((height, width), 255, np.uint8)
    orientation.masks_before(of(found)).blacken(pixels)
    upright = orientation.view(pixels)
    wanted = np.any([touched(one, *reversed(upright.shape)) for one in found], axis=0)  # type: ignore[call-overload]
    assert np.array_equal(upright == 0, wanted)


@settings(max_examples=60)
@given(rectangles(), st.integers(1, 20), st.integers(1, 20), st.integers(0, 9))
def test_no_pixel_of_a_mask_keeps_brightness_or_colour_in_planes(
    rectangle: list[float], half_width: int, half_height: int, padding: int
) -> None:
    width, height = 2 * half_width, 2 * half_height
    array = np.full((height * 3 // 2, width + 2 * padding), 77, np.uint8)
    luma, *colours = YUV(array, width, height).planes
    of([rectangle]).blacken_planes(luma, *colours)
    below = touched(rectangle, width, height)
    assert np.array_equal(luma == 0, below)
    for plane in colours:
        assert set(plane.repeat(2, 0).repeat(2, 1)[below]) == {128}


def test_sums_of_fractions_above_one_end_with_the_picture() -> None:
    assert of([[0.7, 0.9, 0.3000000001, 0.1000000001]]).boxes(100, 100) == [(70, 90, 100, 100)]


def test_what_is_remembered_of_changing_sizes_stays_little() -> None:
    blocks = BlackBlocks(0, MASKS, transposed=False)
    for side in range(16, 1000, 16):
        picture = cv2.imencode(".jpg", np.zeros((16, side), np.uint8))[1].tobytes()
        assert blocks(picture)
    assert len(blocks._plans) <= 20 and len(MASKS._boxes) <= 20


# -- JPEGs


def variants(width: int, height: int) -> tuple[Pixels, Pixels]:
    """Return two pictures that differ below the masks only."""
    one = scene(width, height)
    other = one.copy()
    for left, top, right, bottom in MASKS.boxes(width, height):
        noise = np.random.default_rng(1).integers(0, 255, (bottom - top, right - left, 3))
        other[top:bottom, left:right] = noise
    return one, other


def as_taken(upright: Pixels, rotation: int, hflip: bool, vflip: bool) -> Pixels:
    """Return the picture that *upright* is after the turn."""
    return turned(turned(upright, -rotation % 360, False, False), 0, hflip, vflip)


def insides(pixels: Pixels) -> list[Pixels]:
    height, width = pixels.shape[:2]
    return [pixels[top:bottom, left:right] for left, top, right, bottom in MASKS.boxes(width, height)]


def assert_masked(picture: bytes, dark: int = DARK) -> None:
    jpeg.check(picture)
    shown = cv2.cvtColor(decoded(picture), TO_GREY)  # a decoder that obeys the mark of Exif
    assert max(part.max() for part in insides(shown)) < dark  # type: ignore[arg-type]
    assert shown.max() > 100, "and not the whole picture"


@pytest.fixture
def never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> bytes:
        raise AssertionError("it was decoded and encoded again")

    monkeypatch.setattr(Orientation, "_reencode", refused)


KINDS = [*SAMPLINGS, "grey", "grey in 2x2", "progressive", "restarts"]


def coded(pixels: Pixels, kind: str) -> bytes:
    if kind == "grey":
        return cv2.imencode(".jpg", cv2.cvtColor(pixels, TO_GREY))[1].tobytes()
    if kind == "grey in 2x2":  # the factors of a single component mean nothing
        plain = coded(pixels, "grey")
        factors = plain.index(b"\xff\xc0") + 11
        return plain[:factors] + b"\x22" + plain[factors + 1 :]
    if kind == "restarts":
        return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_RST_INTERVAL, 3))[1].tobytes()
    return encoded(pixels, kind if kind in SAMPLINGS else "4:2:0", progressive=kind == "progressive")


@pytest.mark.parametrize("method", ["pixels", "exif"])
@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("never_decoded")
def test_nothing_below_a_mask_leaves_a_trace_in_a_jpeg(
    kind: str, rotation: int, hflip: bool, vflip: bool, method: str
) -> None:
    orientation = Orientation(rotation, hflip, vflip, method, masks=MASKS)
    size = (256, 128) if rotation % 180 == 0 else (128, 256)
    results = []
    for upright in variants(*size):
        data = coded(as_taken(upright, rotation, hflip, vflip), kind)
        results.append(orientation.jpeg(data))
    assert results[0] == results[1]
    assert jpeg.size(results[0]) == orientation.size(
        *reversed(as_taken(variants(*size)[0], rotation, False, False).shape[:2])
    )
    assert_masked(results[0], 60)  # decoders mix a little colour from beside a mask into its edge
    plain = decoded(Orientation(rotation, hflip, vflip, method).jpeg(data))
    beside = np.ones(plain.shape[:2], bool)
    for left, top, right, bottom in MASKS.boxes(*size, 32, 32):
        beside[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
    assert np.array_equal(decoded(results[0])[beside], plain[beside]), "the rest is as it was"


@pytest.mark.parametrize("size", [(70, 50), (7, 200), (33, 47), (1, 1), (17, 16)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("never_decoded")
def test_odd_sizes_are_masked_without_decoding_if_they_are_not_turned(kind: str, size: tuple[int, int]) -> None:
    result = Orientation(0, False, False, masks=of([[0.4, 0.4, 0.6, 0.6]])).jpeg(coded(scene(*size), kind))
    assert jpeg.size(result) == size
    pixels = decoded(result)
    assert cv2.cvtColor(pixels, TO_GREY)[int(0.4 * size[1]) :, int(0.4 * size[0]) :].max() < 60


@pytest.mark.parametrize("method", ["pixels", "exif"])
@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
def test_odd_sizes_are_masked_at_every_turn(rotation: int, hflip: bool, vflip: bool, method: str) -> None:
    orientation = Orientation(rotation, hflip, vflip, method, quality=98, masks=MASKS)
    assert_masked(orientation.jpeg(encoded(scene(201, 143))), 90)


@pytest.mark.parametrize("method", ["pixels", "exif"])
@pytest.mark.parametrize("mark", range(1, 9))
def test_masks_are_of_the_picture_as_its_own_exif_turns_it(mark: int, method: str) -> None:
    orientation = Orientation(90, True, False, method, masks=MASKS)
    assert_masked(orientation.after(mark).jpeg(encoded(scene(256, 128))), 60)


def test_without_the_library_pictures_are_decoded_and_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert_masked(Orientation(0, False, False, quality=95, masks=MASKS).jpeg(encoded(scene(256, 128))), 90)


def unusual(kind: str) -> bytes:
    """Return a JPEG whose blocks cannot be blackened."""
    pixels = scene(256, 128)
    if kind == "16-bit quanta":
        plain = coded(pixels, "grey")
        at = plain.index(b"\xff\xdb")
        table = plain[at + 5 : at + 69]
        wide = b"\xff\xdb\x00\x83\x10" + b"".join(bytes((0, quantum)) for quantum in table)
        return plain[:at] + wide + plain[at + 69 :]
    target, image = io.BytesIO(), Image.fromarray(pixels[..., ::-1])
    if kind == "RGB":
        image.save(target, "JPEG", keep_rgb=True)
    else:
        image.convert("CMYK").save(target, "JPEG")
    return target.getvalue()


@pytest.mark.parametrize("kind", ["RGB", "CMYK", "16-bit quanta"])
def test_jpegs_with_other_colours_or_tables_are_decoded_and_masked(kind: str) -> None:
    data = unusual(kind)
    assert BlackBlocks(0, MASKS, transposed=False)(data) is None
    assert_masked(Orientation(0, False, False, quality=95, masks=MASKS).jpeg(data), 90)


def test_a_failure_while_blocks_are_blackened_gives_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, data = BlackBlocks(0, MASKS, transposed=False), encoded(scene(256, 128))
    flawed = data[: len(data) * 3 // 4] + b"\xff\xd9"  # libjpeg-turbo warns about its end, which must not hide the rest
    assert blocks(data) and blocks(flawed)

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(black_blocks.ctypes, "memmove", broken)
    assert blocks(data) is None
    assert blocks(flawed) is None


def test_a_library_that_ignores_the_filter_gives_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(black_blocks, "Filter", lambda _: None)
    assert BlackBlocks(0, MASKS, transposed=False)(encoded(scene(256, 128))) is None


def test_a_picture_that_cannot_be_masked_is_an_error() -> None:
    with pytest.raises(JpegError, match="OpenCV cannot decode it"):
        Orientation(0, False, False, masks=MASKS).jpeg(b"\xff\xd8" + bytes(500))


@pytest.mark.parametrize("colour", [0, 255, (255, 40, 40), (40, 40, 255)], ids=str)
@pytest.mark.parametrize("quality", [1, 20, 95, 100])
def test_a_mask_is_black_at_any_quality_and_colour(quality: int, colour: Any) -> None:
    pixels = np.full((64, 64, 3), colour, np.uint8)
    data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
    assert decoded(Orientation(0, False, False, masks=of([[0, 0, 1, 1]])).jpeg(data)).max() == 0


# -- pixels


@pytest.mark.parametrize("method", ["pixels", "exif"])
@pytest.mark.parametrize(("rotation", "hflip", "vflip"), EVERY_ORIENTATION)
def test_nothing_below_a_mask_leaves_a_trace_in_encoded_pixels(
    rotation: int, hflip: bool, vflip: bool, method: str
) -> None:
    orientation = Orientation(rotation, hflip, vflip, method, quality=95, masks=MASKS)
    shrink = Shrink(100, 95)
    size = (201, 143) if rotation % 180 == 0 else (143, 201)
    taken = [np.ascontiguousarray(as_taken(upright, rotation, hflip, vflip)) for upright in variants(*size)]
    before = taken[0].copy()
    big, small = (
        [make(pixels) for pixels in taken] for make in (orientation.encode, lambda p: shrink.of_pixels(p, orientation))
    )
    assert big[0] == big[1]
    assert_masked(big[0], 90)
    assert small[0] == small[1]
    assert_masked(small[0], 110)
    assert np.array_equal(taken[0], before), "the source draws on its own pixels"


def test_small_pictures_of_a_masked_jpeg_are_masked() -> None:
    big = Orientation(0, False, False, masks=MASKS).jpeg(encoded(scene(640, 480)))
    small = decoded(Shrink(160, 90).of_jpeg(big))
    parts = [part[1:-1, 1:-1] for part in insides(cv2.cvtColor(small, TO_GREY).astype(np.uint8))]
    assert max(part.max() for part in parts) < DARK


# -- cameras whose pictures pass through


def test_no_picture_of_a_usb_camera_passes_through_unmasked() -> None:
    data, capture = encoded(scene(256, 128)), SimpleNamespace(pixel_format="MJPG")
    sink: Any = Run(None)  # type: ignore[arg-type]
    for masks, passes in (([], True), (RECTANGLES, False)):
        converter = pictures(capture, video(masks=masks), SMALL, sink)  # type: ignore[arg-type]
        for _ in range(3):
            converter.upright(data)
        assert converter.is_ready(data, len(data)) is passes  # type: ignore[arg-type]
        converter.deliver(data, 1, sink)
        assert (sink.frames[-1][0] == data) is passes
    assert_masked(sink.frames[-1][0], 60)


def test_masks_come_below_the_overlay() -> None:
    from pi_cam_daemon.imaging.overlay import Overlay

    orientation = Orientation(0, False, False, overlay=Overlay("MMMM"), masks=of([[0, 0, 1, 1]]))
    shown = decoded(orientation.jpeg(encoded(scene(256, 128))))
    assert shown[:30].max() > 150 > 30 > shown[60:].max()


def test_a_rectangle_that_fits_has_no_pixel_more() -> None:
    assert of([[0.1, 0.7, 0.2, 0.1]]).boxes(640, 480, 16, 16) == [(64, 336, 192, 384)]
