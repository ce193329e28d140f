import contextlib
import mmap
import time

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.known import KnownHeader
from tests.kit.lateness import patience


def picture(width: int = 160, height: int = 120, progressive: bool = False) -> bytes:
    """Return a JPEG with noise, so that its data is full of stuffed FF bytes."""
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    encoded, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)))
    assert encoded
    return data.tobytes()


WHOLE = picture()


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def with_segment(marker: int, content: bytes) -> bytes:
    """Return the whole picture with one more header segment in front."""
    return WHOLE[:2] + segment(marker, content) + WHOLE[2:]


def with_size(width: int, height: int) -> bytes:
    sof = WHOLE.index(b"\xff\xc0")
    return WHOLE[: sof + 5] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + WHOLE[sof + 9 :]


@given(width=st.integers(1, 300), height=st.integers(1, 300), progressive=st.booleans())
def test_the_size_is_what_was_encoded(width: int, height: int, progressive: bool) -> None:
    data = picture(width, height, progressive)
    assert jpeg.size(data) == (width, height)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_object_is_accepted(kind: type) -> None:
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


FRAME = segment(0xC0, b"\x08\0\x02\0\x03\x01")
SCAN = segment(0xDA, b"")


@pytest.mark.parametrize(
    ("segments", "tables"),
    [
        (FRAME, False),
        (segment(0xFE, b"") + FRAME, False),
        (segment(0xC4, b"") + FRAME, True),
        (FRAME.replace(b"\xc0", b"\xc2"), True),
    ],
)
def test_the_shortest_header_is_read(segments: bytes, tables: bool) -> None:
    """Four bytes of data follow it: less would be a header that is cut."""
    start = b"\xff\xd8" + segments
    expected = (3, 2, tables, [(2, 6)] if segments[1] == 0xFE else [], len(start), len(start) + 4)
    assert jpeg.parse(start + SCAN + b"\0\0\xff\xd9") == expected
    with pytest.raises(JpegError, match=r"FFDA at byte \d+ has a wrong length"):
        jpeg.parse(start + SCAN + b"\0\xff\xd9")


@pytest.mark.parametrize(
    ("segments", "complaint"),
    [
        (segment(0xC0, b"\x08\0\x02\0\x03"), "frame header is too short"),
        (b"\xff\xdb\0\x01", "FFDB at byte 2 has a wrong length"),
        (FRAME + FRAME, "two frame headers"),
    ],
)
def test_a_header_one_byte_too_short_is_refused(segments: bytes, complaint: str) -> None:
    with pytest.raises(JpegError, match=complaint):
        jpeg.parse(b"\xff\xd8" + segments + SCAN + bytes(9))
    with pytest.raises(JpegError, match="FFE0 at byte 2 has a wrong length"):
        jpeg.parse(b"\xff\xd8\xff\xe0\0\x02")


def test_a_picture_of_125_bytes_is_one_and_of_124_is_none() -> None:
    start = b"\xff\xd8" + FRAME.replace(b"\xc0", b"\xc2") + SCAN
    least = start.ljust(123, b"x") + b"\xff\xd9"
    jpeg.check(least)
    assert jpeg.repair(least) is least
    for refuse in (jpeg.check, jpeg.repair):
        with pytest.raises(JpegError, match="124 bytes are too few"):
            refuse(least.replace(b"x", b"", 1))


@pytest.mark.parametrize(("height", "fits"), [(200, True), (201, False)])
def test_a_picture_has_a_bit_for_each_block_of_eight_by_eight_pixels(height: int, fits: bool) -> None:
    frame = b"\xff\xc2" + FRAME[2:5] + height.to_bytes(2, "big") + (320).to_bytes(2, "big") + FRAME[9:]
    data = (b"\xff\xd8" + frame + SCAN).ljust(123, b"x") + b"\xff\xd9"
    with contextlib.nullcontext() if fits else pytest.raises(JpegError, match="cannot hold 320x201 pixels"):
        assert jpeg.repair(data) is data


def turned(orientation: int, kind: bytes = b"Exif\0\0") -> bytes:
    """Return a segment that asks for *orientation*."""
    return segment(
        0xE1, kind + b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes((orientation, 0, 0, 0)) + bytes(4)
    )


@pytest.mark.parametrize(
    ("segments", "orientation"),
    [
        (b"", 1),
        (segment(0xFE, b"\xff\xd9"), 1),
        (turned(6), 6),
        (turned(6) + turned(3), 6),
        (turned(6, b"Other\0"), 1),
        (turned(6, b"Other\0") + turned(3), 3),
    ],
)
def test_the_first_exif_tells_the_orientation(segments: bytes, orientation: int) -> None:
    assert jpeg.repaired(WHOLE[:2] + segments + WHOLE[2:])[1] == orientation


def test_a_length_that_ends_in_ff_makes_no_marker_with_what_follows() -> None:
    data = with_segment(0xFE, b"\xd9" + bytes(252))
    assert jpeg.repair(data) is data


def test_a_header_that_ends_anywhere_is_a_jpeg_error() -> None:
    for length in range(WHOLE.index(b"\xff\xc0") + 9):
        with pytest.raises(JpegError):
            jpeg.size(WHOLE[:length])


# ten megabytes each
HOSTILE = [
    pytest.param(b"\xff\xd8" + b"\xff" * 10_000_000, id="fill bytes without end"),
    pytest.param(b"\xff\xd8" + b"\xff\xe0\0\2" * 2_500_000, id="empty segments without end"),
    pytest.param(WHOLE[:-2] + b"\xff\0" * 5_000_000, id="picture data without end"),
    pytest.param(WHOLE + bytes(10_000_000) + b"x", id="padding without end"),
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_ten_hostile_megabytes_are_read_fast(hostile: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(JpegError):
        jpeg.check(hostile)
    assert time.monotonic() - start < patience(1)


def refuses_or_accepts(data: bytes) -> None:
    """Fail if *data* raises anything but JpegError, or passes the check without a size."""
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


# -- repair


def without_tables(data: bytes) -> bytes:
    """Return the picture as UVC cameras send it: no Huffman tables, and APP0 is AVI1."""
    data = data[:2] + segment(0xE0, b"AVI1\0\0" + bytes(8)) + data[2 + 2 + 16 :]
    while (at := data.find(b"\xff\xc4")) >= 0:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    return data


def pixels_of(data: bytes) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert pixels is not None
    return pixels.tobytes()


SMALL = picture(16, 16)
OLDER = picture(80, 60)
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
TABLES_MISSING = without_tables(WHOLE)


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(WHOLE, id="as encoded"),
        pytest.param(picture(progressive=True), id="progressive"),
        pytest.param(with_segment(0xE4, bytes(5000)), id="application data"),
        pytest.param(with_segment(0xE2, b"ICC_PROFILE\0" + bytes(500)), id="a colour profile"),
        pytest.param(with_segment(0xFE, b"CREATOR: a camera"), id="a comment"),
        pytest.param(WHOLE[:2] + b"\xff\xff\xff" + WHOLE[2:], id="fill bytes before a marker"),
    ],
)
def test_a_good_picture_is_left_alone(whole: bytes) -> None:
    assert jpeg.repair(whole) is whole


@pytest.mark.parametrize(
    "unsound",
    [
        pytest.param(with_segment(0xC0, b"\x08\x27\x10\x27\x10" + bytes(10)), id="a first header of 100 megapixels"),
        pytest.param(with_segment(0xC0, b"\x08\0\0\0\0" + bytes(10)), id="a first frame header of no size"),
        pytest.param(with_size(9999, 9999), id="a size that so few bytes cannot hold"),
        pytest.param(WHOLE[:2] + bytes(200) + WHOLE[2:], id="zeros in the headers"),
        pytest.param(b"\xff\xd8" + b"\xff\xe0\0\2" * 300 + WHOLE[2:], id="segments without end"),
        pytest.param(WHOLE[:2] + b"\xff\xe0\0\1" + WHOLE[2:], id="a segment shorter than its length"),
    ],
)
def test_repair_refuses_a_broken_picture_even_if_it_looks_plain(unsound: bytes) -> None:
    with pytest.raises(JpegError):
        jpeg.repair(unsound)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_repair_takes_any_bytes_like_object_and_gives_bytes(kind: type) -> None:
    for data in (WHOLE, WHOLE + b"\0"):
        repaired = jpeg.repair(kind(data))
        assert type(repaired) is bytes
        assert repaired == WHOLE


REPARABLE = [
    pytest.param(WHOLE + b"\0", id="the tail D900"),
    pytest.param(WHOLE + b"\0\0", id="the tail 0000"),
    pytest.param(WHOLE + bytes(100_000), id="a padded USB buffer"),
    pytest.param(WHOLE + b"\xff\xd9", id="two ends"),
    pytest.param(WHOLE + OLDER[-500:], id="the end of an older, longer picture"),
    pytest.param(WHOLE + b"\0\0x" * 100, id="garbage at the end"),
    pytest.param(WHOLE[:2] + segment(0xE1, EXIF) + WHOLE[2:], id="Exif"),
    pytest.param(with_segment(0xE1, EXIF + SMALL), id="Exif with a thumbnail"),
    pytest.param(with_segment(0xE0, b"JFXX\0\x10" + SMALL), id="a JFXX thumbnail"),
    pytest.param(with_segment(0xED, b"Photoshop 3.0\0" + SMALL), id="a thumbnail in other application data"),
    pytest.param(with_segment(0xFE, b"\xff\xd9"), id="an end marker in a comment"),
    pytest.param(with_segment(0xE1, EXIF + SMALL) + bytes(10), id="several of it"),
    pytest.param(OLDER + WHOLE, id="two pictures: the newer one"),
    pytest.param(OLDER + bytes(1000) + WHOLE + bytes(5), id="two pictures with padding"),
    pytest.param(OLDER + OLDER + WHOLE, id="three pictures"),
    pytest.param(OLDER[: len(OLDER) // 2] + WHOLE, id="a beheaded picture's first half before it"),
    pytest.param(WHOLE + OLDER[: len(OLDER) // 2], id="half a picture after it"),
    pytest.param(WHOLE + OLDER[:-2], id="a picture without its end after it"),
    pytest.param(with_segment(0xE4, bytes(99) + b"\xff\xd8\xff\x01" + bytes(99)), id="video that looks like a start"),
    pytest.param(
        WHOLE[:2] + segment(0xE2, SMALL[:900]) + segment(0xE2, SMALL[900:]) + WHOLE[2:], id="a preview in two segments"
    ),
    pytest.param(b"\r\n" + WHOLE, id="a line end before the start"),
    pytest.param(bytes(2) + WHOLE, id="zeros before the start"),
    pytest.param(b"\xff\xd8\x01\xff" + WHOLE + bytes(9000), id="junk before the start, and padding"),
    pytest.param(WHOLE[700:] + WHOLE, id="the end of another picture before the start"),
    pytest.param(b"\xff\xd9" + WHOLE, id="an end before the start"),
    pytest.param(b"\xff\xd8" + WHOLE, id="two starts"),
    pytest.param(b"\xff\xd8" * 20 + WHOLE, id="twenty starts"),
    pytest.param(WHOLE[:2] + b"\xff\xff" + WHOLE, id="two starts and fill bytes"),
    pytest.param(WHOLE[:300] + WHOLE + b"\0\0x" * 100, id="the first bytes before it, garbage behind it"),
    pytest.param(OLDER[:90] + WHOLE[:90] + WHOLE, id="the first bytes of two pictures"),
    pytest.param(WHOLE + b"\xff\xd9" * 3 + bytes(20), id="several ends and padding"),
    pytest.param(WHOLE + b"\0\0x" * len(WHOLE), id="more garbage than picture behind it"),
    pytest.param(OLDER[: len(OLDER) // 2] + WHOLE + b"\0\0x" * len(WHOLE), id="half a picture and much garbage"),
    pytest.param(WHOLE + b"\0\0x" + OLDER, id="garbage behind it that holds a picture"),
    pytest.param(b"\r\n" + WHOLE + b"x" * len(WHOLE), id="a line end before it, as much garbage behind it"),
]


@pytest.mark.parametrize("broken", REPARABLE)
def test_segments_that_cameras_add_are_removed(broken: bytes) -> None:
    assert jpeg.repair(broken) == WHOLE


@pytest.mark.parametrize("whole", [WHOLE, with_segment(0xE1, EXIF + SMALL), TABLES_MISSING, picture(progressive=True)])
def test_a_picture_begins_at_the_last_start_before_its_data(whole: bytes) -> None:
    """Some cameras send the first bytes of a picture twice; libjpeg-turbo's issue 157 tells of the second start."""
    expected = jpeg.repair(whole)
    for length in range(jpeg.parse(whole)[-1] + 200):
        assert jpeg.repair(whole[:length] + whole) == expected, length


@pytest.mark.parametrize("data", [TABLES_MISSING, TABLES_MISSING + bytes(700)], ids=["plain", "padded"])
def test_missing_huffman_tables_are_added(data: bytes) -> None:
    assert b"\xff\xc4" not in data
    repaired = jpeg.repair(data)
    assert repaired.count(b"\xff\xc4") == 1
    assert b"AVI1" in repaired
    assert pixels_of(repaired) == pixels_of(WHOLE)


def test_the_added_tables_are_the_standard_ones() -> None:
    """OpenCV's libjpeg-turbo writes the standard tables, one segment each."""
    at, contents = 0, []
    while (at := WHOLE.find(b"\xff\xc4", at)) >= 0:
        end = at + 2 + int.from_bytes(WHOLE[at + 2 : at + 4], "big")
        contents.append(WHOLE[at + 4 : end])
        at = end
    assert len(contents) == 4
    assert segment(0xC4, b"".join(contents)) in jpeg.repair(TABLES_MISSING)


IRREPARABLE = [
    pytest.param(b"", "does not start with FFD8", id="empty"),
    pytest.param(b"\xff\xd8\xff\xd9", "within its headers", id="nothing but start and end"),
    pytest.param(b"<html>DroidCam is Busy</html>" * 10, "does not start with FFD8", id="not a JPEG"),
    pytest.param(bytes(2) + WHOLE[:-2], "does not start with FFD8", id="junk before a picture without an end"),
    pytest.param(with_segment(0xE1, EXIF + SMALL)[:2000], "cut short|no marker|wrong length", id="only a thumbnail"),
    pytest.param(
        WHOLE[:2] + segment(0xE1, EXIF + SMALL) + bytes(500) + WHOLE[2:], "no marker", id="a thumbnail and zeros"
    ),
    pytest.param(WHOLE[:-2], "cut short: no end", id="no end marker"),
    pytest.param(WHOLE[: len(WHOLE) // 2], "cut short: no end", id="half a picture"),
    pytest.param(WHOLE[: len(WHOLE) // 2] + bytes(5000), "cut short: no end", id="half a picture and padding"),
    pytest.param(WHOLE[: len(WHOLE) // 2] * 2, "cut short", id="two halves"),
    pytest.param(WHOLE[: len(WHOLE) // 2] * 20, "another picture starts before its end", id="twenty halves"),
    pytest.param(WHOLE[:300], "wrong length|ends within", id="cut in its headers"),
    pytest.param(with_size(4096, 4096), "cannot hold 4096x4096", id="fewer bytes than blocks"),
    pytest.param(with_segment(0xC9, bytes(15)), "neither baseline nor progressive", id="arithmetic coding"),
]


@pytest.mark.parametrize(("broken", "complaint"), IRREPARABLE)
def test_an_irreparable_picture_is_refused_with_the_reason(broken: bytes, complaint: str) -> None:
    with pytest.raises(JpegError, match=complaint):
        jpeg.repair(broken)


@pytest.mark.parametrize("tail", [b"", bytes(500), b"\xff"], ids=["none", "zeros", "half an end"])
def test_pictures_without_an_end_marker_can_be_served(tail: bytes) -> None:
    repaired = jpeg.repair(WHOLE[:-2] + tail, end_required=False)
    assert repaired == WHOLE
    with pytest.raises(JpegError):
        jpeg.repair(WHOLE[:-2] + tail)


def test_a_whole_picture_is_preferred_to_a_newer_one_without_an_end() -> None:
    assert jpeg.repair(WHOLE + OLDER[:-2], end_required=False) == WHOLE


def test_a_picture_of_one_colour_counts_as_whole() -> None:
    """It has the least data possible: all blocks are equal, with tables made for them."""
    for progressive in (0, 1):
        options = (cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
        data = cv2.imencode(".jpg", np.zeros((4000, 4000), np.uint8), options)[1].tobytes()
        assert jpeg.repair(data) is data


@pytest.mark.parametrize(
    "hostile",
    [
        *HOSTILE,
        pytest.param(SMALL * (10_000_000 // len(SMALL)), id="pictures without end"),
        pytest.param(WHOLE[:-2] + b"\xff\xd8" * 5_000_000, id="starts without end"),
        pytest.param((WHOLE[:-2] + WHOLE) * (5_000_000 // len(WHOLE)), id="half pictures without end"),
        pytest.param(
            WHOLE[:2] + segment(0xE1, EXIF) * 200 + WHOLE[2:-2] + bytes(10_000_000), id="Exif segments and padding"
        ),
        pytest.param(
            WHOLE[:2] + segment(0xE1, b"\xff\xd8\xff\xe0" * 16_000 + b"\xff\xd9") * 150 + WHOLE[2:],
            id="starts without end in application data",
        ),
    ],
)
def test_ten_hostile_megabytes_are_repaired_or_refused_fast(hostile: bytes) -> None:
    start = time.process_time()
    repairs_or_refuses(hostile)
    assert time.process_time() - start < 1


def repairs_or_refuses(data: bytes) -> None:
    """Fail unless *data* gives a JPEG that passes the check and needs no repair, or a JpegError."""
    for end_required in (True, False):
        try:
            repaired = jpeg.repair(data, end_required=end_required)
        except JpegError as error:
            assert str(error)
        else:
            jpeg.check(repaired)
            assert jpeg.repair(repaired) is repaired


PIECES = [WHOLE, OLDER, SMALL, TABLES_MISSING, with_segment(0xE1, EXIF + SMALL), picture(progressive=True)]


@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"\xff\xd8", b"\xff\xd9", b"\0", bytes(200), b"\xff\xd8\xff"]),
            st.tuples(st.sampled_from(PIECES), st.integers(0, 20_000), st.integers(0, 20_000)).map(
                lambda cut: cut[0][min(cut[1:]) : max(cut[1:])]
            ),
            st.sampled_from(PIECES),
        ),
        max_size=6,
    )
)
def test_any_buffer_is_repaired_or_refused(pieces: list[bytes]) -> None:
    repairs_or_refuses(b"".join(pieces))


@given(
    base=st.sampled_from(PIECES),
    cut=st.integers(0, 20_000),
    changes=st.dictionaries(st.integers(0, 1500), st.integers(0, 255), max_size=8),
)
def test_a_damaged_header_is_repaired_or_refused(base: bytes, cut: int, changes: dict[int, int]) -> None:
    damaged = bytearray(base)
    for at, value in changes.items():
        damaged[at % len(damaged)] = value
    repairs_or_refuses(bytes(damaged[:cut]))
    repairs_or_refuses(bytes(damaged))


@given(data=st.binary(max_size=2000))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    repairs_or_refuses(data)
    repairs_or_refuses(b"\xff\xd8" + data)


def test_a_header_that_claims_more_pixels_than_a_small_pi_can_hold_is_refused() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    encoded, data = cv2.imencode(".jpg", image)
    assert encoded
    picture = bytearray(data.tobytes())
    at = picture.index(b"\xff\xc0") + 5
    picture[at : at + 4] = (8000).to_bytes(2, "big") * 2
    with pytest.raises(JpegError, match="8000x8000 pixels are more than"):
        jpeg.repair(bytes(picture) + bytes(8000 * 8000 // 512))


# -- known headers

STAMPED = with_segment(0xFE, b"0000000000000017")


def longer(share: float) -> bytes:
    """Return a picture with the header of WHOLE and this much more data."""
    return WHOLE[:-2] + WHOLE[1000 : 1000 + int(share * len(WHOLE))].replace(b"\xff", b"\0") + b"\xff\xd9"


def knowing(picture: bytes) -> KnownHeader:
    known = KnownHeader()
    assert not known.matches(picture, len(picture))
    assert known.repair(picture) is picture
    assert known.matches(picture, len(picture))
    return known


def test_a_picture_with_the_known_header_is_recognized_in_a_larger_buffer() -> None:
    known = knowing(WHOLE)
    assert known.matches(WHOLE + bytes(1000), len(WHOLE))
    with mmap.mmap(-1, 100_000) as memory:
        memory[: len(WHOLE)] = WHOLE
        assert known.matches(memory, len(WHOLE))
        memory[: len(longer(0.1))] = longer(0.1)
        assert known.matches(memory, len(longer(0.1)))


def test_a_comment_with_the_time_does_not_make_a_header_unknown() -> None:
    known = knowing(STAMPED)
    later = with_segment(0xFE, b"0000000000000018")
    assert known.matches(later, len(later))
    other = with_segment(0xFE, b"FFFF")
    assert not known.matches(other, len(other)), "a comment of another length"
    assert not known.matches(b"\xff\xd9" + later[2:], len(later)), "no start"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(picture(), id="the same picture"),
        pytest.param(picture(168), id="another width"),
        pytest.param(picture(progressive=True), id="progressive"),
        pytest.param(with_segment(0xE4, bytes(50)), id="more application data"),
        pytest.param(WHOLE[:2] + b"\xff" + WHOLE[2:], id="a fill byte"),
    ],
)
def test_a_picture_of_any_header_is_left_alone_and_known_from_then_on(other: bytes) -> None:
    known = knowing(WHOLE)
    assert known.matches(other, len(other)) is (other == WHOLE)
    assert known.repair(other) is other
    assert known.matches(other, len(other))


@pytest.mark.parametrize("whole", [WHOLE, picture(progressive=True), picture(65, 33)], ids=["", "progressive", "odd"])
def test_a_picture_without_an_end_marker_is_refused_only_if_data_is_missing(whole: bytes) -> None:
    for lost in [*range(1, 30), 99]:
        with pytest.raises(JpegError, match="cut short: no end marker"):
            KnownHeader().repair(whole[: -2 - lost])
    known = KnownHeader()
    for tail in (b"", b"\0\0", b"\xff", b" old bytes "):
        assert known.repair(whole[:-2] + tail).startswith(whole[:-2])


def test_trust_in_pictures_without_an_end_marker_ends_with_the_first_that_has_one() -> None:
    known = KnownHeader()
    assert [known.repair(WHOLE[:-2]) for _ in range(30)] == [WHOLE] * 30
    assert known.repair(WHOLE) == WHOLE
    with pytest.raises(JpegError, match="cut short"):
        known.repair(WHOLE[:-20])


@pytest.mark.parametrize("broken", [*REPARABLE, *(pytest.param(*bad.values[:1], id=bad.id) for bad in IRREPARABLE)])
def test_a_bad_picture_is_found_behind_good_ones_with_its_header(broken: bytes) -> None:
    known = knowing(WHOLE)
    assert not known.matches(broken, len(broken))


@pytest.mark.parametrize(
    "two",
    [
        pytest.param(WHOLE + WHOLE, id="two pictures"),
        pytest.param(WHOLE[: len(WHOLE) // 2] + WHOLE, id="half a picture before a whole one"),
        pytest.param(WHOLE[: len(WHOLE) // 7] + WHOLE, id="a seventh of a picture before a whole one"),
    ],
)
def test_two_pictures_with_the_known_header_are_found_by_their_length(two: bytes) -> None:
    known = knowing(WHOLE)
    assert not known.matches(two, len(two))
    assert known.repair(two) == WHOLE


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(WHOLE[:1000] + WHOLE, id="the first bytes of a picture before a whole one"),
        pytest.param(WHOLE + WHOLE[-2000:], id="the end of an older, a little longer picture"),
    ],
)
def test_what_only_a_scan_finds_is_found_within_31_pictures_and_then_at_once(spoilt: bytes) -> None:
    known = knowing(WHOLE)
    assert known.matches(spoilt, len(spoilt)), "it is just a little longer"
    repaired = [known.repair(spoilt) for _ in range(31)]
    assert repaired[-1] == WHOLE
    assert not any(known.matches(WHOLE, len(WHOLE)) or known.repair(WHOLE) is not WHOLE for _ in range(300))
    known.repair(WHOLE)
    assert known.matches(WHOLE, len(WHOLE)), "300 good ones later it is trusted again"


@example(cut=0, changes={2: 0})
@given(cut=st.integers(0, len(WHOLE)), changes=st.dictionaries(st.integers(0, 700), st.integers(0, 255), max_size=3))
def test_a_damaged_header_is_never_taken_for_the_known_one(cut: int, changes: dict[int, int]) -> None:
    known = knowing(WHOLE)
    damaged = bytearray(WHOLE)
    for at, value in changes.items():
        damaged[at] = value
    for data in (bytes(damaged), bytes(damaged[:cut])):
        if known.matches(data, len(data)):
            assert jpeg.repair(data) is data
