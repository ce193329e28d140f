"""Raw pictures of every format, made here byte by byte, and converted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pi_cam_daemon.camera import raw_pictures
from pi_cam_daemon.errors import JpegError

Pixels = npt.NDArray[np.uint8]

# luminance rises to the right; the colours (U, V) and what they are in blue, green and red
COLOURS = {"grey": (128, 128), "red": (90, 240), "blue": (240, 110)}


def raw(pixel_format: str, width: int, height: int, pad: int, u: int, v: int) -> bytes:
    """Return a picture of one colour whose luminance rises to the right, with *pad* bytes of 0xAA behind each row."""
    luma = np.tile(np.linspace(40, 200, width).astype(np.uint8), (height, 1))

    def rows(values: npt.NDArray[np.integer], distance: int) -> bytes:
        table = np.full((len(values), distance), 0xAA, np.uint8)
        table[:, : values.shape[1]] = values
        return table.tobytes()

    lines, columns = (height + 1) // 2, (width + 1) // 2
    match pixel_format:
        case "GREY":
            return rows(luma, width + pad)
        case "RGB3" | "BGR3":
            triples = np.repeat(luma, 3, axis=1).reshape(height, width, 3)
            triples[:, :, 0 if pixel_format == "RGB3" else 2] = v
            return rows(triples.reshape(height, -1), 3 * width + pad)
        case "YUYV" | "YVYU" | "UYVY":
            pairs = np.zeros((height, width, 2), np.uint8)
            at = 1 if pixel_format == "UYVY" else 0
            first, second = (v, u) if pixel_format == "YVYU" else (u, v)
            pairs[:, :, at] = luma
            pairs[:, ::2, 1 - at], pairs[:, 1::2, 1 - at] = first, second
            return rows(pairs.reshape(height, -1), 2 * width + pad)
        case "NV12" | "NV21":
            pairs = np.tile(np.array([u, v] if pixel_format == "NV12" else [v, u], np.uint8), (lines, columns))
            return rows(luma, width + pad + width % 2) + rows(pairs, width + pad + width % 2)
    planes = [np.full((lines, columns), value, np.uint8) for value in ((u, v) if pixel_format == "YU12" else (v, u))]
    distance = width + pad
    return rows(luma, distance) + b"".join(rows(plane, (distance + 1) // 2) for plane in planes)


@pytest.mark.parametrize("pixel_format", raw_pictures.FORMATS)
@pytest.mark.parametrize(
    ("width", "height", "pad"),
    [(64, 48, 32), (62, 45, 2), (33, 48, 7), (2, 2, 0)],
)
def test_every_format_gives_its_luminance_and_its_colours(pixel_format: str, width: int, height: int, pad: int) -> None:
    for colour in COLOURS:
        gives_its_luminance_and(colour, pixel_format, width, height, pad)


def gives_its_luminance_and(colour: str, pixel_format: str, width: int, height: int, pad: int) -> None:
    u, v = COLOURS[colour]
    data = raw(pixel_format, width, height, pad, u, v)
    distance = {"RGB3": 3, "BGR3": 3, "YUYV": 2, "YVYU": 2, "UYVY": 2}.get(pixel_format, 1) * width + pad
    if pixel_format.startswith("NV"):
        distance += width % 2
    convert = raw_pictures.to_bgr(pixel_format, width, height, distance)
    for sent in (data, data + bytes(4096)):
        pixels = convert(sent).astype(int)
        assert {height - pixels.shape[0], width - pixels.shape[1]} <= {0, 1}
        blue, green, red = (pixels[:, :, channel] for channel in range(3))
        assert (np.diff(green, axis=1) >= 0).all(), "it rises to the right"
        assert (np.ptp(green, axis=0) <= 1).all(), "all rows are equal"
        if pixel_format in ("RGB3", "BGR3"):
            assert (red == v).all() and np.array_equal(blue, green)
        elif pixel_format == "GREY" or colour == "grey":
            assert np.abs(red - green).max() <= 1 >= np.abs(blue - green).max()
        else:
            strong, weak = (red, blue) if colour == "red" else (blue, red)
            assert (strong > green + 20).all() and (strong > weak).all()
    with pytest.raises(JpegError, match="bytes, not"):
        convert(data[: len(data) // 2])


def test_a_driver_that_names_no_row_length_or_too_small_a_one_is_not_believed() -> None:
    data = raw("YUYV", 64, 48, 0, 128, 128)
    expected = raw_pictures.to_bgr("YUYV", 64, 48, 128)(data)
    for row_bytes in (0, 64):
        assert np.array_equal(raw_pictures.to_bgr("YUYV", 64, 48, row_bytes)(data), expected)


def test_a_last_row_without_its_padding_is_enough() -> None:
    data = raw("NV12", 64, 48, 16, 128, 128)
    convert = raw_pictures.to_bgr("NV12", 64, 48, 80)
    assert np.array_equal(convert(data[:-16]), convert(data))
