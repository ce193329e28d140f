"""The reader of other servers' streams: what servers send, split anywhere, and garbage."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_cam_daemon.camera.jpeg_stream import LONGEST_HEADER, LONGEST_PICTURE, Reader, StreamError
from pi_cam_daemon.ipc import parts


def shape(data: bytes, exif: bytes = b"") -> bytes:
    """Return a JPEG in shape only."""
    metadata = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif if exif else b""
    return b"\xff\xd8" + metadata + b"\xff\xda\0\4\0\0" + data + b"\xff\xd9"


# with a thumbnail and its end marker inside, and with what looks like lines
FIRST = shape(b"first", b" thumbnail \xff\xd8\xff \xff\xd9 \r\n\r\n--b ")
SECOND = shape(b"\r\n\n--" + bytes(range(256)) * 3)
THIRD = shape(b" the third ")
PICTURES = [FIRST, SECOND, THIRD]


def read(stream: bytes, size: int = 1 << 30) -> list[bytes]:
    reader = Reader()
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
    "mjpg-streamer and µStreamer": stream(USTREAMER, b"--boundarydonotcross\r\n"),
    "pi_cam_daemon": parts.OPENING + b"".join(parts.part(p, 1_500_000) for p in PICTURES),
    "picamera2, go2rtc": stream(PLAIN),
    "motion: padded length": stream(PLAIN.replace(b"{n}", b"    {n}")),
    "DroidCam": stream(b"--dcmjpeg\r\nAccess-Control-Allow-Origin: *\r\n" + SIZED),
    "the tutorial: LF alone, no space": stream(
        b"--myboundary\nContent-Type:image/jpeg\nContent-Length: {n}\n\n{jpeg}\n"
    ),
    "headers in any case": stream(PLAIN.replace(b"Content-Type", b"CONTENT-TYPE").replace(b"-L", b"-l")),
    "type with a parameter": stream(PLAIN.replace(b"image/jpeg", b"IMAGE/JPEG; charset=binary")),
    "dashes in the header already": stream(PLAIN),
    "dashes in the header, and two more on the wire": stream(PLAIN.replace(b"--b", b"----b")),
    "D-Link: a boundary with a space and dashes": stream(
        PLAIN.replace(b"--b", b"--video boundary--"),
    ),
    "no first boundary": stream(PLAIN.removeprefix(b"--b\r\n") + b"--b\r\n"),
    "preamble": stream(PLAIN, b"This is a multipart message.\r\n\r\nReally.\r\n"),
    "Foscam: an end marker before every part": stream(b"\r\n--b--\r\n" + PLAIN),
    "doubled boundary": stream(b"--b\r\n" + PLAIN),
    "no line end behind the picture": stream(PLAIN.replace(b"{jpeg}\r\n", b"{jpeg}"), last=b"--b\r\n"),
    "no length": stream(UNSIZED, last=b"--b\r\n"),
    "no length, LF alone": stream(UNSIZED.replace(b"\r", b""), last=b"--b\n"),
    "no header": stream(b"--b\r\n\r\n{jpeg}\r\n", last=b"--b\r\n"),
    "spaces behind the boundary": stream(PLAIN.replace(b"--b", b"--b \t")),
    "cards between": stream(PLAIN + b"--b\r\nX-No-Picture: lost\r\n" + SIZED + b"--b\r\nx-NO-picture:\r\n" + SIZED),
    "parts of other types": stream(PLAIN + b"--b\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n"),
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


@pytest.mark.parametrize("server", AS_THEY_ARE)
def test_every_servers_pictures_are_read_unchanged(server: str) -> None:
    for size in (1, 7, 1 << 30):
        assert read(AS_THEY_ARE[server], size) == PICTURES, size


@pytest.mark.parametrize("length", WRONG_LENGTHS)
def test_a_wrong_content_length_is_ignored(length: str) -> None:
    sent = stream(PLAIN.replace(b"{n}", WRONG_LENGTHS[length]), pictures=PICTURES * 2)
    for size in (1, 1 << 30):
        assert read(sent, size) == PICTURES * 2, size


def test_a_picture_with_a_length_is_given_out_at_its_end() -> None:
    sent = stream(PLAIN, pictures=[FIRST])
    assert read(sent[: -len(b"\r\n")]) == [FIRST]


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\0", b"\r\n"])
def test_padding_after_a_picture_causes_no_wait(tail: bytes) -> None:
    assert read(stream(PLAIN, pictures=[FIRST + tail])[: -len(b"\r\n")]) == [FIRST]


def test_a_picture_without_its_end_waits_for_the_next_one() -> None:
    cut = THIRD.removesuffix(b"\xff\xd9")
    assert read(stream(PLAIN, pictures=[cut])) == []
    assert read(stream(PLAIN, pictures=[cut, SECOND])) == [cut, SECOND]


def test_pictures_after_garbage_are_found() -> None:
    rubbish = bytes(range(256)) * 1000
    sent = stream(PLAIN) + rubbish + b"\r\n" + stream(PLAIN)
    assert read(sent) == PICTURES * 2


@pytest.mark.parametrize("filler", [b"X: y\r\n", b"x", b": \n"])
def test_any_amount_of_data_before_a_picture_is_skipped(filler: bytes) -> None:
    sent = b"--b\r\n" + filler * (3 * LONGEST_HEADER // len(filler)) + b"\r\n" + stream(PLAIN)
    assert read(sent, 4096) == PICTURES


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (stream(PLAIN, last=b"--b\r\n"), ""),
        (stream(PLAIN, last=b"--b\r\nContent-Type: image/jpeg\r\n\r\n"), ""),
        (b"--b\r\nContent-Type: text/plain\r\nX: y\r\n\r\nhello, you", "it is text/plain"),
        (b"--b\nContent-Type:image/jpeg\n\nBM bitmap", "it is called image/jpeg, but is no JPEG"),
        (UNSIZED.replace(b"{jpeg}", b"\xff\xd8\xff\xe1\0\0\0\0\0\0\0"), "its header is invalid"),
    ],
)
def test_what_is_no_picture_is_described(sent: bytes, problem: str) -> None:
    reader = Reader()
    list(reader.feed(sent))
    assert reader.problem == problem


# --- what is refused


def test_the_largest_picture_passes_and_a_larger_one_is_refused() -> None:
    largest = shape(b"." * (LONGEST_PICTURE - len(shape(b""))))
    for part in (PLAIN, UNSIZED):
        assert read(stream(part, last=b"--b\r\n", pictures=[largest]), 65536) == [largest]
        with pytest.raises(StreamError, match="8 MiB"):
            read(stream(part, last=b"--b\r\n", pictures=[largest[:-2] + b"." * 1000]), 65536)


def test_pictures_before_one_that_is_too_large_are_given_out() -> None:
    got = []
    with pytest.raises(StreamError):
        for picture in Reader().feed(stream(PLAIN) + THIRD[:-2] + bytes(LONGEST_PICTURE)):
            got.append(picture)  # noqa: PERF402 - it raises on the way
    assert got == PICTURES


# --- bounds

ENDLESS = {
    "without a boundary": b"\0\xff\xd8garbage\r\n",
    "of a picture": b"--b\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff\xda\0\2",
    "of another type": b"--b\r\nContent-Type: text/html\r\n\r\n",
    "with a length": b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: 8388608\r\n\r\n\xff\xd8\xff\xe1\xff\xff",
    "of a header": b"--b\r\nContent-Type: image/jpeg\r\n",
    "behind a picture": stream(PLAIN, pictures=[FIRST]),
    "of no header": b"--b\r\n\r\n",
}


@pytest.mark.parametrize(
    "filler", [b"\0" * 65536, b"-" * 65536, b"\r\n" * 32768, b"\r\n--" * 16384, b"x: y\r\n" * 9999]
)
@pytest.mark.parametrize("kind", ENDLESS)
def test_memory_stays_bounded_with_endless_garbage(kind: str, filler: bytes) -> None:
    reader = Reader()
    tracemalloc.start()
    try:
        for data in [ENDLESS[kind], *[filler] * 640]:  # 40 MiB
            for _ in reader.feed(data):
                pass
    except StreamError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2.5 * LONGEST_PICTURE


def test_what_is_known_of_starts_without_end_takes_little_memory() -> None:
    reader = Reader()
    tracemalloc.start()
    try:
        for _ in range(8):
            assert list(reader.feed(b"\xff\xd8\xff" * 21845)) == []
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < LONGEST_PICTURE  # it would be 18 MB if all of them were kept


@pytest.mark.parametrize(
    "chain", [b"\xff\xe0\0\4\xff\xd8", b"\xff\xe0\0\6\xff\xd8\xff\xe0", b"\xff\xd8\xff" + b"\xff" * 200]
)
def test_data_made_of_starts_takes_no_longer_than_other_data(chain: bytes) -> None:
    begun = time.process_time()
    assert read(b"\xff\xd8" + chain * (2**20 // len(chain)), 1460) == []
    assert time.process_time() - begun < 2  # 0.3 s; it would be 6 s if every start were followed to its end


# --- whatever comes


def outcome(chunks: list[bytes]) -> list[bytes]:
    reader = Reader()
    return [picture for chunk in chunks for picture in reader.feed(chunk)]


PIECES = st.sampled_from(
    [
        b"--b\r\n", b"--b\n", b"--b--\r\n", b"----b\r\n", b"--b", b"\r\n", b"\n", b"\r", b"--", b"b", b" ", b"\0",
        b"\xff\xd8", b"\xff\xd9", b"x", b"Content-Type: image/jpeg\r\n", b"content-type:image/jpeg\n",
        b"Content-Type: text/plain\r\n", b"Content-Length: 4\r\n", b"Content-Length: 9\r\n", b"Content-Length: 40\r\n",
        b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0\0\4", FIRST, THIRD,
    ]
)  # fmt: skip
NOISE = st.lists(PIECES | st.binary(max_size=20), max_size=40).map(b"".join)


@settings(max_examples=1000)
@given(NOISE, st.data())
def test_any_split_of_a_stream_gives_the_same_pictures(noise: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(noise)), max_size=8)))
    split = [noise[start:end] for start, end in zip([0, *cuts], [*cuts, len(noise)], strict=True)]
    whole = outcome([noise])
    assert outcome(split) == whole
    assert outcome([noise[i : i + 1] for i in range(len(noise))]) == whole


@given(st.sampled_from(sorted(AS_THEY_ARE)), st.lists(st.integers(0, 3000), max_size=6))
def test_real_streams_can_be_split_anywhere(server: str, cuts: list[int]) -> None:
    sent = AS_THEY_ARE[server]
    places = sorted({min(cut, len(sent)) for cut in cuts})
    split = [sent[start:end] for start, end in zip([0, *places], [*places, len(sent)], strict=True)]
    assert outcome(split) == PICTURES


@given(st.sampled_from(sorted(AS_THEY_ARE)), NOISE)
def test_noise_before_a_good_stream_costs_only_the_pictures_it_touches(server: str, noise: bytes) -> None:
    # the noise may have begun a segment of up to 64 KiB
    sent = AS_THEY_ARE[server]
    assert outcome([noise + b"\r\n" + sent + bytes(LONGEST_HEADER) + sent])[-2:] == PICTURES[-2:]
