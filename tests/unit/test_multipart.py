"""The reader of other servers' streams: every server's habits, split anywhere, and garbage."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_cam_daemon.camera.multipart import LONGEST_HEADER, LONGEST_PICTURE, MultipartError, Reader
from pi_cam_daemon.core import frame

# two JPEGs in shape only: with a thumbnail and its end marker inside, and with what looks like lines
FIRST = b"\xff\xd8\xff\xe1 thumbnail \xff\xd8 \xff\xd9 \r\n\r\n--b \xff\xd9"
SECOND = b"\xff\xd8\r\n\n--" + bytes(range(256)) * 3 + b"\xff\xd9"
THIRD = b"\xff\xd8 the third \xff\xd9"
PICTURES = [FIRST, SECOND, THIRD]


def read(boundary: str, stream: bytes, size: int = 1 << 30) -> list[bytes]:
    reader = Reader(boundary)
    return [picture for start in range(0, len(stream), size) for picture in reader.feed(stream[start : start + size])]


def stream(part: bytes, first: bytes = b"", last: bytes = b"", pictures: list[bytes] = PICTURES) -> bytes:
    """Repeat *part* for every picture, with the JPEG for {jpeg} and its length for {n}."""
    return first + b"".join(part.replace(b"{n}", b"%d" % len(p)).replace(b"{jpeg}", p) for p in pictures) + last


# --- servers as they are

SIZED = b"Content-Type: image/jpeg\r\nContent-Length: {n}\r\n\r\n{jpeg}\r\n"
USTREAMER = b"X-Timestamp: 1.000000\r\n" + SIZED + b"--boundarydonotcross\r\n"
PLAIN = b"--b\r\n" + SIZED
UNSIZED = b"--b\r\nContent-Type: image/jpeg\r\n\r\n{jpeg}\r\n"
AS_THEY_ARE = {
    "mjpg-streamer and µStreamer": ("boundarydonotcross", stream(USTREAMER, b"--boundarydonotcross\r\n")),
    "pi_cam_daemon": (frame.BOUNDARY, frame.OPENING + b"".join(frame.part(p, 1.5) for p in PICTURES)),
    "picamera2, go2rtc": ("b", stream(PLAIN)),
    "motion: padded length": ("b", stream(PLAIN.replace(b"{n}", b"    {n}"))),
    "DroidCam": (
        "dcmjpeg",
        stream(b"--dcmjpeg\r\nAccess-Control-Allow-Origin: *\r\n" + SIZED),
    ),
    "the tutorial: LF alone, no space": (
        "myboundary",
        stream(b"--myboundary\nContent-Type:image/jpeg\nContent-Length: {n}\n\n{jpeg}\n"),
    ),
    "headers in any case": ("b", stream(PLAIN.replace(b"Content-Type", b"CONTENT-TYPE").replace(b"-L", b"-l"))),
    "type with a parameter": ("b", stream(PLAIN.replace(b"image/jpeg", b"IMAGE/JPEG; charset=binary"))),
    "dashes in the header already": ("--b", stream(PLAIN)),
    "dashes in the header, and two more on the wire": ("--b", stream(PLAIN.replace(b"--b", b"----b"))),
    "D-Link: a boundary with a space and dashes": (
        "--video boundary--",
        stream(PLAIN.replace(b"--b", b"--video boundary--")),
    ),
    "no first boundary": ("b", stream(PLAIN.removeprefix(b"--b\r\n") + b"--b\r\n")),
    "preamble": ("b", stream(PLAIN, b"This is a multipart message.\r\n\r\nReally.\r\n")),
    "Foscam: an end marker before every part": ("b", stream(b"\r\n--b--\r\n" + PLAIN)),
    "doubled boundary": ("b", stream(b"--b\r\n" + PLAIN)),
    "no line end behind the picture": ("b", stream(PLAIN.replace(b"{jpeg}\r\n", b"{jpeg}"), last=b"--b\r\n")),
    "no length": ("b", stream(UNSIZED, last=b"--b\r\n")),
    "no length, LF alone": ("b", stream(UNSIZED.replace(b"\r", b""), last=b"--b\n")),
    "no header": ("b", stream(b"--b\r\n\r\n{jpeg}\r\n", last=b"--b\r\n")),
    "spaces behind the boundary": ("b", stream(PLAIN.replace(b"--b", b"--b \t"))),
    "cards between": (
        "b",
        stream(PLAIN + b"--b\r\nX-No-Picture: lost\r\n" + SIZED + b"--b\r\nx-NO-picture:\r\n" + SIZED),
    ),
    "parts of other types": (
        "b",
        stream(PLAIN + b"--b\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n"),
    ),
}
WRONG_LENGTHS = {
    "too short": b"5",
    "too short, at a thumbnail's end": b"22",
    "too long": b"100000",
    "too long by the line end": b"%d" % (len(SECOND) + 2),
    "far too long": b"4294967296",
    "endless": b"9" * 5000,
    "negative": b"-1",
    "no number": b"many",
    "empty": b"",
    "nought": b"0",
}


@pytest.mark.parametrize("size", [1, 7, 1 << 30])
@pytest.mark.parametrize("server", AS_THEY_ARE)
def test_every_servers_pictures_are_read_unchanged(server: str, size: int) -> None:
    boundary, sent = AS_THEY_ARE[server]
    assert read(boundary, sent, size) == PICTURES


@pytest.mark.parametrize("size", [1, 1 << 30])
@pytest.mark.parametrize("length", WRONG_LENGTHS)
def test_a_wrong_content_length_is_ignored(length: str, size: int) -> None:
    pictures = [SECOND, THIRD] * 3
    if length == "too short, at a thumbnail's end":
        pictures = [b"\xff\xd8".ljust(20, b".") + b"\xff\xd9" + THIRD] * 6
        # cut there it is no sound picture, which is for others to find; what follows is in step again
        expected = [picture[:22] for picture in pictures]
    else:
        expected = pictures
    sent = stream(PLAIN.replace(b"{n}", WRONG_LENGTHS[length]), last=b"--b\r\n", pictures=pictures)
    assert read("b", sent, size) == expected


def test_a_picture_with_a_length_is_given_out_at_its_end() -> None:
    sent = stream(PLAIN, pictures=[FIRST])
    assert read("b", sent[: -len(b"\r\n")]) == [FIRST]


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\0", b"\r\n"])
def test_padding_after_a_picture_causes_no_wait(tail: bytes) -> None:
    assert read("b", stream(PLAIN, pictures=[FIRST + tail])[: -len(b"\r\n")]) == [FIRST]


def test_a_picture_without_its_end_waits_for_the_boundary() -> None:
    cut = THIRD.removesuffix(b"\xff\xd9")
    assert read("b", stream(PLAIN, pictures=[cut])) == []
    assert read("b", stream(PLAIN, pictures=[cut, SECOND])) == [cut, SECOND]


def test_pictures_after_garbage_are_found() -> None:
    rubbish = bytes(range(256)) * 1000
    sent = stream(PLAIN) + rubbish + b"\r\n" + stream(PLAIN)
    assert read("b", sent) == PICTURES * 2


# --- what is refused


@pytest.mark.parametrize("boundary", ["", "x" * 201])
def test_an_invalid_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(MultipartError, match="boundary"):
        Reader(boundary)


@pytest.mark.parametrize("boundary", ["(.*", "[", "é", "\u20ac", " ", "\\"])
def test_a_boundary_is_not_used_as_a_regular_expression(boundary: str) -> None:
    assert read(boundary, stream(UNSIZED)) == []


@pytest.mark.parametrize("line", [b"X: y\r\n", b"x", b": \n"])
def test_an_endless_header_is_refused(line: bytes) -> None:
    with pytest.raises(MultipartError, match="64 KiB"):
        read("b", b"--b\r\n" + line * (LONGEST_HEADER // len(line) + 1), 4096)


def test_a_header_of_nearly_64_kib_is_read() -> None:
    padding = b"X: %s\r\n" % (b"y" * (LONGEST_HEADER - 100))
    assert read("b", stream(PLAIN.replace(b"--b\r\n", b"--b\r\n" + padding))) == PICTURES


def test_the_largest_picture_passes_and_a_larger_one_is_refused() -> None:
    largest = b"\xff\xd8".ljust(LONGEST_PICTURE - 2, b".") + b"\xff\xd9"
    for part in (PLAIN, UNSIZED):
        assert read("b", stream(part, last=b"--b\r\n", pictures=[largest]), 65536) == [largest]
        with pytest.raises(MultipartError, match="8 MiB"):
            read("b", stream(part, last=b"--b\r\n", pictures=[largest + b"." * 1000]), 65536)


def test_pictures_before_garbage_are_given_out() -> None:
    got = []
    with pytest.raises(MultipartError):
        for picture in Reader("b").feed(stream(PLAIN) + b"--b\r\n" + b"x" * LONGEST_HEADER):
            got.append(picture)  # noqa: PERF402 - it raises on the way
    assert got == PICTURES


# --- bounds

ENDLESS = {
    "without a boundary": b"\0\xff\xd8garbage\r\n",
    "of a picture": b"--b\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8",
    "of another type": b"--b\r\nContent-Type: text/html\r\n\r\n",
    "with a length": b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: 8388608\r\n\r\n\xff\xd8",
    "of a header": b"--b\r\nContent-Type: image/jpeg\r\n",
    "behind a picture": stream(PLAIN, pictures=[FIRST]),
    "of no header": b"--b\r\n\r\n",
}


@pytest.mark.parametrize(
    "filler", [b"\0" * 65536, b"-" * 65536, b"\r\n" * 32768, b"\r\n--" * 16384, b"x: y\r\n" * 9999]
)
@pytest.mark.parametrize("kind", ENDLESS)
def test_memory_stays_bounded_with_endless_garbage(kind: str, filler: bytes) -> None:
    reader = Reader("b")
    tracemalloc.start()
    try:
        for data in [ENDLESS[kind], *[filler] * 640]:  # 40 MiB
            for _ in reader.feed(data):
                pass
    except MultipartError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2.5 * LONGEST_PICTURE


# --- whatever comes


def outcome(boundary: str, chunks: list[bytes]) -> tuple[list[bytes], str]:
    """Return the pictures, and the error that ended the stream, if any."""
    pictures: list[bytes] = []
    try:
        reader = Reader(boundary)
        for chunk in chunks:
            pictures.extend(reader.feed(chunk))
    except MultipartError as error:
        return pictures, str(error)
    return pictures, ""


def one_by_one(boundary: str, data: bytes) -> tuple[list[bytes], str]:
    return outcome(boundary, [data[i : i + 1] for i in range(len(data))])


PIECES = st.sampled_from(
    [
        b"--b\r\n", b"--b\n", b"--b--\r\n", b"----b\r\n", b"--b", b"\r\n", b"\n", b"\r", b"--", b"b", b" ", b"\0",
        b"\xff\xd8", b"\xff\xd9", b"x", b"Content-Type: image/jpeg\r\n", b"content-type:image/jpeg\n",
        b"Content-Type: text/plain\r\n", b"Content-Length: 4\r\n", b"Content-Length: 9\r\n", b"Content-Length: 40\r\n",
        b"\xff\xd8\xff\xd9", FIRST, THIRD,
    ]
)  # fmt: skip
NOISE = st.lists(PIECES | st.binary(max_size=20), max_size=40).map(b"".join)
BOUNDARIES = st.sampled_from(["b", "--b", "--b--", "-", "--", "\r\n", " "]) | st.text(max_size=12)


@settings(max_examples=1000)
@given(BOUNDARIES, NOISE, st.data())
def test_any_split_of_a_stream_gives_the_same_pictures(boundary: str, noise: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(noise)), max_size=8)))
    split = [noise[start:end] for start, end in zip([0, *cuts], [*cuts, len(noise)], strict=True)]
    whole = outcome(boundary, [noise])
    assert outcome(boundary, split) == whole
    assert one_by_one(boundary, noise) == whole


@given(st.sampled_from(sorted(AS_THEY_ARE)), st.lists(st.integers(0, 3000), max_size=6))
def test_real_streams_can_be_split_anywhere(server: str, cuts: list[int]) -> None:
    boundary, sent = AS_THEY_ARE[server]
    places = sorted({min(cut, len(sent)) for cut in cuts})
    split = [sent[start:end] for start, end in zip([0, *places], [*places, len(sent)], strict=True)]
    assert outcome(boundary, split) == (PICTURES, "")


@given(st.sampled_from(sorted(AS_THEY_ARE)), NOISE)
def test_noise_before_a_good_stream_costs_only_the_pictures_it_touches(server: str, noise: bytes) -> None:
    boundary, sent = AS_THEY_ARE[server]
    pictures, _ = outcome(boundary, [noise + b"\r\n" + sent + sent])
    assert pictures[-2:] == PICTURES[-2:]
