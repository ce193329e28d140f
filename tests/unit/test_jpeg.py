import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_cam_daemon import jpeg
from pi_cam_daemon.errors import JpegError


def picture(width: int = 160, height: int = 120, progressive: bool = False) -> bytes:
    """A real JPEG with noise in it, so that its picture data is full of stuffed FF bytes."""
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    encoded, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)))
    assert encoded
    return data.tobytes()


WHOLE = picture()


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def with_segment(marker: int, content: bytes) -> bytes:
    """The whole picture with one more header segment in front."""
    return WHOLE[:2] + segment(marker, content) + WHOLE[2:]


def with_size(width: int, height: int) -> bytes:
    sof = WHOLE.index(b"\xff\xc0")
    return WHOLE[: sof + 5] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + WHOLE[sof + 9 :]


@given(width=st.integers(1, 300), height=st.integers(1, 300), progressive=st.booleans())
def test_the_size_is_what_was_encoded(width: int, height: int, progressive: bool) -> None:
    data = picture(width, height, progressive)
    assert jpeg.size(data) == (width, height)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_object_will_do(kind: type) -> None:
    assert jpeg.size(kind(WHOLE)) == (160, 120)
    jpeg.check(kind(WHOLE))


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(WHOLE, id="as encoded"),
        pytest.param(picture(progressive=True), id="progressive"),
        pytest.param(WHOLE + b"\0", id="one zero of padding: the tail D900"),
        pytest.param(WHOLE + b"\0\0", id="two zeros of padding"),
        pytest.param(WHOLE + bytes(100_000), id="a padded USB buffer"),
        pytest.param(with_segment(0xE1, b"Exif\0\0" + picture(16, 16)), id="a thumbnail with markers of its own"),
        pytest.param(WHOLE[:2] + b"\xff\xff\xff" + WHOLE[2:], id="fill bytes before a marker"),
    ],
)
def test_a_whole_picture_passes(whole: bytes) -> None:
    jpeg.check(whole)
    assert jpeg.size(whole) == (160, 120)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        pytest.param(b"", "0 bytes are too few", id="empty"),
        pytest.param(WHOLE[:124], "124 bytes are too few", id="under 125 bytes"),
        pytest.param(b"<html>DroidCam is Busy</html>" * 10, "does not start with FFD8", id="not a JPEG"),
        pytest.param(bytes(2) + WHOLE, "does not start with FFD8", id="junk before the start"),
        pytest.param(WHOLE[:-2], "cut short", id="no end marker"),
        pytest.param(WHOLE[: len(WHOLE) // 2], "cut short", id="half a picture"),
        pytest.param(WHOLE[: len(WHOLE) // 2] + bytes(5000), "cut short", id="half a picture, padded with zeros"),
        pytest.param(WHOLE[:300], "wrong length|ends within", id="cut in its headers"),
        pytest.param(WHOLE + WHOLE, "bytes follow its end", id="two pictures in one buffer"),
        pytest.param(WHOLE + b"\0\0x", "3 bytes follow its end", id="garbage at the end"),
        pytest.param(WHOLE[:2] + bytes(200) + WHOLE[2:], "no marker at byte 2", id="zeros in the headers"),
        pytest.param(WHOLE[:2] + WHOLE, "FFD8 at byte 2 does not belong", id="two starts"),
        pytest.param(WHOLE[:2] + b"\xff\xe0\0\1" + WHOLE[2:], "wrong length", id="a segment shorter than its length"),
        pytest.param(
            WHOLE[:2] + segment(0xC0, b"\x08") + bytes(200), "header is too short", id="an empty frame header"
        ),
        pytest.param(with_segment(0xDA, bytes(10)), "before its size is known", id="picture data without a size"),
        pytest.param(with_segment(0xC9, bytes(15)), "neither baseline nor progressive", id="arithmetic coding"),
        pytest.param(with_size(160, 0), "size is 160x0", id="no height"),
        pytest.param(with_size(0, 120), "size is 0x120", id="no width"),
    ],
)
def test_a_broken_picture_is_refused_with_the_reason(broken: bytes, complaint: str) -> None:
    with pytest.raises(JpegError, match=complaint):
        jpeg.check(broken)


def test_a_header_that_ends_anywhere_is_a_jpeg_error() -> None:
    for length in range(WHOLE.index(b"\xff\xc0") + 9):
        with pytest.raises(JpegError):
            jpeg.size(WHOLE[:length])


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(b"\xff\xd8" + b"\xff" * 10_000_000, id="fill bytes without end"),
        pytest.param(b"\xff\xd8" + b"\xff\xe0\0\2" * 2_500_000, id="empty segments without end"),
        pytest.param(WHOLE[:-2] + b"\xff\0" * 5_000_000, id="picture data without end"),
        pytest.param(WHOLE + bytes(10_000_000) + b"x", id="padding without end"),
    ],
)
def test_ten_hostile_megabytes_cost_no_time(hostile: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(JpegError):
        jpeg.check(hostile)
    assert time.monotonic() - start < 1


def refuses_or_accepts(data: bytes) -> None:
    """Whatever *data* is: nothing but JpegError comes out, and what passes the check has a size."""
    try:
        jpeg.check(data)
    except JpegError as error:
        assert str(error)
        try:
            jpeg.size(data)
        except JpegError:
            pass
    else:
        assert min(jpeg.size(data)) > 0


@given(data=st.binary(max_size=2000))
def test_arbitrary_bytes_raise_nothing_but_jpeg_errors(data: bytes) -> None:
    refuses_or_accepts(data)
    refuses_or_accepts(b"\xff\xd8" + data)


@given(
    cut=st.integers(0, len(WHOLE)),
    changes=st.dictionaries(st.integers(0, 700), st.integers(0, 255), max_size=8),
)
def test_a_damaged_header_raises_nothing_but_jpeg_errors(cut: int, changes: dict[int, int]) -> None:
    damaged = bytearray(WHOLE)
    for at, value in changes.items():
        damaged[at] = value
    refuses_or_accepts(bytes(damaged[:cut]))
    refuses_or_accepts(bytes(damaged))
