"""Small pictures: of JPEGs of any kind, with libjpeg-turbo and without it, and of pixels."""

from __future__ import annotations

import ctypes
import io
import itertools
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pi_cam_daemon.camera.small import SmallPictures
from pi_cam_daemon.errors import JpegError
from pi_cam_daemon.imaging import exif, jpeg
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.imaging.shrink import Shrink, size
from tests.kit.wait import until
from tests.unit.test_orientation import SAMPLINGS, Pixels, decoded, difference, encoded, scene

WHOLE = encoded(scene(640, 480))


@pytest.fixture(params=["libjpeg-turbo", "OpenCV"])
def shrink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shrink:
    """Return what makes pictures of at most 160 pixels, with and without libjpeg-turbo."""
    made = Shrink(160, 60)
    if request.param == "OpenCV":
        without_library(made, monkeypatch)
    else:
        assert made._scaled, "the library is installed here"
    return made


def without_library(made: Shrink, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", missing)
        assert made._scaled is None


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1280, 720, (160, 90)),
        (640, 480, (160, 120)),
        (333, 501, (84, 126)),  # 2/8
        (161, 67, (81, 34)),  # 4/8 is the most
        (160, 120, (80, 60)),
        (16, 16, (8, 8)),
        (4096, 256, (512, 32)),  # 1/8 is the least
    ],
)
@pytest.mark.parametrize("sampling", [*SAMPLINGS, "grey", "progressive"])
def test_a_jpeg_of_any_kind_and_size_is_made_small(
    shrink: Shrink, width: int, height: int, expected: tuple[int, int], sampling: str
) -> None:
    pixels = scene(width, height)
    if sampling == "grey":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.uint8)
    picture = encoded(pixels, sampling if sampling in SAMPLINGS else "4:2:0", progressive=sampling == "progressive")
    small = shrink.of_jpeg(picture)
    jpeg.check(small)
    assert jpeg.size(small) == expected
    assert difference(decoded(small), resized(decoded(picture), *expected)) < (8 if min(expected) > 8 else 16)


@pytest.mark.parametrize("colours", ["RGB", "CMYK"])
def test_a_jpeg_whose_colours_are_no_yuv_keeps_them(shrink: Shrink, colours: str) -> None:
    pixels = scene(640, 480)
    image, data = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)), io.BytesIO()
    image.convert(colours).save(data, "JPEG", quality=90, **({"keep_rgb": True} if colours == "RGB" else {}))
    small = shrink.of_jpeg(data.getvalue())
    assert difference(decoded(small), resized(decoded(data.getvalue()), 160, 120)) < 8


def test_without_the_library_it_says_once_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = Shrink(160, 60)
    without_library(made, monkeypatch)
    for _ in range(3):
        made.of_jpeg(WHOLE)
    assert [record.getMessage().count("sudo apt install libturbojpeg0") for record in caplog.records] == [1]


@pytest.mark.parametrize("mark", [None, 1, 3, 6])
def test_the_mark_for_viewers_is_kept_and_the_pixels_stay(shrink: Shrink, mark: int | None) -> None:
    marked = WHOLE[:2] + exif.segment(mark) + WHOLE[2:] if mark else WHOLE
    small = shrink.of_jpeg(marked)
    assert jpeg.size(small) == (160, 120)
    assert Image.open(io.BytesIO(small)).getexif().get(0x0112) == mark
    assert decoded(small).shape[:2] == ((160, 120) if mark == 6 else (120, 160)), "OpenCV obeys the mark"


@pytest.mark.parametrize("quality", [20, 95])
def test_the_quality_is_the_one_asked_for(shrink: Shrink, quality: int) -> None:
    at_60 = shrink.of_jpeg(WHOLE)
    other = Shrink(160, quality)
    assert (len(other.of_jpeg(WHOLE)) > len(at_60)) == (quality > 60)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="empty"),
        pytest.param(WHOLE[:300], id="a part of the header"),
        pytest.param(b"\xff\xd8\xff\xd9" + bytes(200), id="no picture"),
        pytest.param(WHOLE.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x63"), id="99 bits"),
    ],
)
def test_a_broken_jpeg_is_refused_in_words_and_the_next_one_is_made(shrink: Shrink, broken: bytes) -> None:
    good = shrink.of_jpeg(WHOLE)
    with pytest.raises(JpegError, match=r"\w+ \w+"):
        shrink.of_jpeg(broken)
    assert shrink.of_jpeg(WHOLE) == good


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE)), st.dictionaries(st.integers(0, 700), st.integers(0, 255), max_size=5), st.booleans())
def test_a_damaged_jpeg_raises_nothing_but_jpeg_errors(cut: int, changes: dict[int, int], library: bool) -> None:
    data = bytearray(WHOLE[:cut] + WHOLE[-2:])
    for place, value in changes.items():
        if place < len(data):
            data[place] = value
    made = TURBO if library else OPENCV
    try:
        small = made.of_jpeg(bytes(data))
    except JpegError:
        return
    assert max(jpeg.size(small)) <= max(160, max(jpeg.size(bytes(data))) // 8 + 1)


TURBO, OPENCV = Shrink(160, 60), Shrink(160, 60)
OPENCV.__dict__["_scaled"] = None  # the cached property: there is no library


def test_thousands_of_pictures_leave_no_memory_behind(shrink: Shrink) -> None:
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    for _ in range(50):
        shrink.of_jpeg(WHOLE)
    before = pages()
    for _ in range(300):
        shrink.of_jpeg(WHOLE)
    assert (pages() - before) * 4096 < 100 * len(WHOLE)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1280, 720, (160, 90)),
        (720, 1280, (90, 160)),
        (640, 470, (160, 118)),
        (100, 75, (50, 38)),
    ],
)
def test_pixels_are_made_small_in_even_numbers(width: int, height: int, expected: tuple[int, int]) -> None:
    assert size(width, height, 160) == expected
    pixels = scene(width, height)
    small = Shrink(160, 90).of_pixels(pixels, Orientation(0, False, False))
    assert jpeg.size(small) == expected
    assert difference(decoded(small), resized(pixels, *expected)) < 8


# -- the thread


class Wanting:
    """A sink that wants *due* small pictures."""

    def __init__(self, due: int) -> None:
        self.due = due
        self.made: list[tuple[bytes, int]] = []
        self.complaints: list[str] = []
        self.room = threading.Event()
        self.room.set()

    def claim_small(self) -> bool:
        self.due -= 1
        return self.due >= 0

    def small(self, picture: bytes, captured_ns: int) -> None:
        self.made.append((picture, captured_ns))
        self.room.wait(60)

    def unusable(self, why: str) -> None:
        self.complaints.append(why)


def threads() -> int:
    return sum(thread.name == "small" for thread in threading.enumerate())


def make(sink: Any) -> SmallPictures[bytes]:
    return SmallPictures(sink, Shrink(160, 60).of_jpeg)


def test_nothing_is_copied_or_started_while_no_small_picture_is_due() -> None:
    before, sink = threads(), Wanting(0)
    small = make(sink)
    for number in range(100):
        small.offer(partial(bytes, WHOLE), number)
    assert (threads(), sink.made, small._newest) == (before, [], None)


def test_a_faulty_frame_is_told_and_does_not_end_the_thread() -> None:
    sink = Wanting(1000)
    small = make(sink)
    small.offer(partial(bytes, WHOLE[:200]), 1)
    until("it is told", lambda: sink.complaints)
    assert "cannot be made small" in sink.complaints[0]
    small.offer(partial(bytes, memoryview(WHOLE)), 2)
    until("the next one is made", lambda: sink.made)
    picture, captured_ns = sink.made[0]
    assert (jpeg.size(picture), captured_ns) == ((160, 120), 2)


def test_the_thread_of_the_source_never_waits_and_only_the_newest_is_made() -> None:
    sink = Wanting(1000)
    sink.room.clear()
    small = make(sink)
    small.offer(partial(bytes, WHOLE), 0)
    until("the first one is under way", lambda: sink.made)
    begun = time.monotonic()
    for number in range(1, 50):
        small.offer(partial(bytes, WHOLE), number)
    assert time.monotonic() - begun < 5
    sink.room.set()
    until("the newest one", lambda: len(sink.made) == 2)
    assert [captured_ns for _, captured_ns in sink.made] == [0, 49]


def test_the_memory_of_the_source_may_change_after_an_offer() -> None:
    sink = Wanting(1000)
    small, buffer = make(sink), bytearray(WHOLE)
    for number in itertools.count():
        small.offer(partial(bytes, memoryview(buffer)), number)
        buffer[:] = bytes(len(buffer))
        if number == 3:
            break
        until("it is made", lambda number=number: len(sink.made) > number)  # type: ignore[misc]
        buffer[:] = WHOLE
    assert not sink.complaints


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_small_pictures_come_again_after_the_thread_ended_by_an_error() -> None:
    results = iter([MemoryError(), b"small"])

    def shrink(_: bytes) -> bytes:
        result = next(results)
        if isinstance(result, MemoryError):
            raise result
        return result

    sink = Wanting(1000)
    small, before = SmallPictures(sink, shrink), threads()
    small.offer(partial(bytes, WHOLE), 1)
    until("the thread has ended", lambda: threads() == before and small._newest is None)
    small.offer(partial(bytes, WHOLE), 2)
    until("the next one is made", lambda: sink.made == [(b"small", 2)])
