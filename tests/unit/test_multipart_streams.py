"""Streams that a generator writes: every valid one is read whole, and nothing else costs memory or an exception."""

from __future__ import annotations

import string
import tracemalloc

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from pi_cam_daemon.camera.jpeg_stream import LONGEST_PICTURE, Reader, StreamError

# RFC 2046, section 5.1.1, without the space, which some servers cut off
BOUNDARIES = st.text(string.ascii_letters + string.digits + "'()+_,-./:=?", min_size=1, max_size=70)
# JPEGs in shape; a 0xFF in the picture data would begin another marker
JPEGS = st.binary(max_size=300).map(lambda data: b"\xff\xd8\xff\xda\0\2" + data.replace(b"\xff", b"\xfe") + b"\xff\xd9")
OTHERS = st.sampled_from(["", "X-Timestamp: 1.5", "Content-Disposition: inline", "x-empty:", "X: a:b--c"])
TYPES = st.sampled_from(["Content-Type: image/jpeg", "content-type:image/jpg", "CONTENT-TYPE: image/jpeg; q=1"])
BEFORE = st.sampled_from([b"", b"\r\n", b"\n", b"This is a multipart message.\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Return pictures, and a stream of them; some parts have a length, and all lines one kind of end."""
    boundary, pictures = draw(BOUNDARIES), draw(st.lists(JPEGS, min_size=1, max_size=5))
    end = draw(st.sampled_from([b"\r\n", b"\n"]))
    delimiter = b"--" + boundary.encode()
    assume(not any(delimiter in picture for picture in pictures))
    stream = draw(BEFORE)
    for picture in pictures:
        length = f"Content-Length: {len(picture)}" if draw(st.booleans()) else ""
        fields = [field for field in (draw(OTHERS), draw(TYPES), length, draw(OTHERS)) if field]
        head = [delimiter, *(field.encode() for field in fields), b"", picture, b""]
        stream += end.join(head)
    return pictures, stream + delimiter + draw(st.sampled_from([b"--", b""])) + end


def read(chunks: list[bytes]) -> tuple[list[bytes], str]:
    """Return the pictures, and the error that ended the stream, if any."""
    pictures: list[bytes] = []
    try:
        reader = Reader()
        for chunk in chunks:
            pictures.extend(reader.feed(chunk))
    except StreamError as error:
        return pictures, str(error)
    return pictures, ""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in places})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=150, derandomize=True)
@given(streams(), st.lists(st.integers(0, 2000), max_size=12))
def test_every_valid_stream_is_read_whole_in_any_pieces(stream: tuple[list[bytes], bytes], places: list[int]) -> None:
    pictures, data = stream
    assert read([data]) == (pictures, "")
    assert read(cut(data, places)) == (pictures, "")
    assert read([data[at : at + 1] for at in range(len(data))]) == (pictures, "")


@settings(max_examples=150, derandomize=True)
@given(streams(), st.lists(st.tuples(st.integers(0, 1999), st.binary(max_size=5)), max_size=6), st.binary(max_size=200))
def test_any_bytes_give_pictures_or_an_error_in_words(
    stream: tuple[list[bytes], bytes], changes: list[tuple[int, bytes]], data: bytes
) -> None:
    _, valid = stream
    damaged = bytearray(valid)
    for at, new in changes:
        damaged[at : at + 2] = new
    for sent in (bytes(damaged), data, data + valid):
        pictures, error = read([sent])
        assert read([sent[at : at + 1] for at in range(len(sent))]) == (pictures, error)
        assert error.isprintable() and len(error) < 300
        assert sum(map(len, pictures)) <= len(sent)


FILLERS = st.sampled_from([b"\0", b"\r\n", b"\n--", b"x: y\r\n", b"\xff\xd8", b"\xff\xd9"]) | st.binary(
    min_size=1, max_size=40
)


# to shrink a failure would take minutes
@settings(max_examples=40, derandomize=True, phases=[Phase.generate])
@given(streams(), st.integers(0, 100), FILLERS)
def test_no_stream_takes_more_memory_than_two_pictures(
    stream: tuple[list[bytes], bytes], percent: int, filler: bytes
) -> None:
    _, valid = stream
    endless = filler * (262144 // len(filler))
    tracemalloc.start()
    try:
        reader = Reader()
        for chunk in [valid[: len(valid) * percent // 100], *[endless] * (4 * LONGEST_PICTURE // 262144)]:
            for _ in reader.feed(chunk):
                pass
    except StreamError as error:
        assert str(error).isprintable()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2.5 * LONGEST_PICTURE
