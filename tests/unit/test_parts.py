import re

import pytest

from pi_cam_daemon.ipc import parts

PICTURE = b"\xff\xd8 a picture \xff\xd9"


def test_the_boundary_is_valid_for_every_parser() -> None:
    assert re.fullmatch("[0-9A-Za-z]{16,40}", parts.BOUNDARY)
    assert f"multipart/x-mixed-replace; boundary={parts.BOUNDARY}" == parts.CONTENT_TYPE


def test_a_part_is_header_picture_and_then_the_boundary() -> None:
    assert parts.part(PICTURE, 1_700_000_000_250_000) == (
        b"Content-Type: image/jpeg\r\n"
        b"Content-Length: %d\r\n"
        b"X-Timestamp: 1700000000.250000\r\n"
        b"\r\n"
        b"%s"
        b"\r\n--%s\r\n" % (len(PICTURE), PICTURE, parts.BOUNDARY.encode())
    )


def test_a_timestamp_has_whole_seconds_and_six_digits() -> None:
    for timestamp_us, text in ((0, b"0.000000"), (7, b"0.000007"), (1_000_000, b"1.000000")):
        assert b"X-Timestamp: %s\r\n" % text in parts.part_header(9, timestamp_us)


def test_a_stream_is_well_formed_from_its_first_byte() -> None:
    stream = parts.OPENING + b"".join(parts.part(PICTURE, moment) for moment in range(3))
    assert stream.startswith(b"--")  # FFmpeg's probe looks nowhere else
    preamble, *parts_, epilogue = (b"\r\n" + stream).split(b"\r\n--" + parts.BOUNDARY.encode() + b"\r\n")
    assert (preamble, epilogue) == (b"", b"")
    assert [one.partition(b"\r\n\r\n")[2] for one in parts_] == [PICTURE] * 3


@pytest.mark.parametrize("length", [0, 32 * 1024 * 1024])
@pytest.mark.parametrize("timestamp_us", [0, 10**16, -1_500_000])
def test_header_lines_stay_below_the_128_bytes_that_ffmpeg_reads(length: int, timestamp_us: int) -> None:
    lines = parts.part_header(length, timestamp_us).split(b"\r\n")
    assert max(map(len, lines)) < 128 - 2
    assert lines[-2:] == [b"", b""]


def test_a_card_has_a_header_that_says_so() -> None:
    header, _, rest = parts.part(PICTURE, 1_500_000, no_picture="stalled").partition(b"\r\n\r\n")
    assert header.split(b"\r\n")[2:] == [b"X-Timestamp: 1.500000", b"X-No-Picture: stalled"]
    assert rest == PICTURE + parts.CLOSING
