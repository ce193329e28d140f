"""Clips that are read again: whole ones, cut ones, and bytes of a stranger; and their names."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_cam_daemon.clips import names, reading
from pi_cam_daemon.clips.reading import Clip, ClipError, Place
from tests.kit import clips
from tests.kit.films import BEGAN_US, film, picture, write

COUNT = 35


@contextmanager
def opened(path: Path) -> Iterator[Clip]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield Clip(fd)
    finally:
        os.close(fd)


def read(path: Path, ms: int = 0) -> list[tuple[int, bytes]]:
    """Return all pictures from *ms* on, with their times."""
    with opened(path) as clip:
        return [(place.ms, clip.jpeg(place)) for place in clip.places(ms)]


# -- whole and cut clips


@pytest.mark.parametrize("closed", [True, False])
def test_a_clip_is_read_as_it_was_written(tmp_path: Path, closed: bool) -> None:
    path = film(tmp_path, COUNT, closed=closed)
    assert read(path) == [(100 * n, picture(n).jpeg) for n in range(COUNT)]
    with opened(path) as clip:
        assert (clip.began_us, clip.complete, clip.seconds()) == (BEGAN_US, closed, (COUNT - 1) / 10)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("ms", [0, 1, 100, 899, 900, 999, 1000, 1001, 3399, 3400])
def test_a_clip_is_read_from_any_time_on(tmp_path: Path, ms: int, closed: bool) -> None:
    assert [at for at, _ in read(film(tmp_path, COUNT, closed=closed), ms)] == list(
        range(-(-ms // 100) * 100, 3500, 100)
    )


def test_the_pictures_beside_another_one_are_found(tmp_path: Path) -> None:
    with opened(film(tmp_path, COUNT)) as clip:
        for ms, step, found in [
            (0, 0, 0), (0, 1, 100), (0, -1, 0), (1, 0, 100), (1, 1, 100), (1, -1, 0), (900, 1, 1000), (1000, -1, 900),
            (1000, 0, 1000), (3400, 0, 3400), (3400, 1, 3400), (3400, -1, 3300), (99_999, 0, 3400), (99_999, -1, 3400),
        ]:  # fmt: skip
            assert clip.find(ms, step).ms == found, (ms, step)


def test_a_clip_that_is_cut_anywhere_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = film(tmp_path, COUNT, closed=False)
    data = path.read_bytes()
    for at in random.Random(1).sample(range(400, len(data)), 60):
        path.write_bytes(data[:at])
        whole = [jpeg for _, jpeg in clips.read(path).pictures]
        assert [jpeg for _, jpeg in read(path)] == whole, f"cut at byte {at}"
        with opened(path) as clip:
            assert clip.seconds() == max(0, len(whole) - 1) / 10
            if not whole:
                with pytest.raises(ClipError, match="no picture"):
                    clip.find(0)


def test_a_clip_that_grows_is_read_on(tmp_path: Path) -> None:
    path = film(tmp_path, COUNT, closed=False)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with opened(path) as clip:
        places = clip.places(0)
        seen = [next(places)]
        path.write_bytes(data)
        seen += places
    assert len(seen) == COUNT


def test_a_file_that_is_no_clip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.mkv"
    whole = film(tmp_path, 3).read_bytes()
    for data in (b"", b"\x1a", bytes(5000), b"RIFF" * 200, whole[:40], whole[50:], b"\xff" * 600):
        path.write_bytes(data)
        with pytest.raises(ClipError, match="not a clip"), opened(path):
            pass


def test_a_damaged_picture_is_refused_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, [picture(n) for n in range(3)])
    with opened(path) as clip:
        first, second, _ = clip.places(0)
        with path.open("r+b") as file:
            file.seek(first.at)
            file.write(b"\0\0")
        with pytest.raises(ClipError, match="damaged"):
            clip.jpeg(first)
        assert clip.jpeg(second) == picture(1).jpeg
        with pytest.raises(ClipError, match="damaged"):
            clip.jpeg(Place(0, second.at, 1 << 24))


# -- bytes of a stranger

with tempfile.TemporaryDirectory() as _folder:
    WHOLE = film(Path(_folder), 12).read_bytes()
OPENING = WHOLE[: WHOLE.index(b"\x1f\x43\xb6\x75")]


def walk(data: bytes) -> None:
    """Read *data* in every way."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        try:
            with opened(Path(file.name)) as clip:
                assert clip.seconds() >= 0
                for place in clip.places(0):
                    try:
                        clip.jpeg(place)
                    except ClipError:
                        pass
                for step in (-1, 0, 1):
                    clip.find(500, step)
        except ClipError:
            pass


@settings(max_examples=150)
@given(st.binary(max_size=300), st.integers(0, len(OPENING)))
def test_any_bytes_behind_a_true_opening_are_read_to_their_end(data: bytes, at: int) -> None:
    walk(OPENING[:at] + data)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=8))
def test_a_clip_with_any_bytes_changed_is_read_to_its_end(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(WHOLE)
    for at, new in changes:
        data[at : at + len(new)] = new
    walk(bytes(data))


def test_a_file_of_the_smallest_elements_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "many.mkv"
    path.write_bytes(OPENING + b"\xec\x80" * (reading._MOST_ELEMENTS + 5_000) + WHOLE[len(OPENING) :])
    assert read(path) == []


# -- names


def test_names_are_ordered_by_age_and_nothing_else_is_a_name() -> None:
    ages = [
        names.parse(f"2026-11-29_18-05-{rest}.mkv")
        for rest in ("31_motion", "31_manual-2", "31_motion-10", "32_motion")
    ]
    assert None not in ages and ages == sorted(ages)  # type: ignore[type-var]
    for wrong in (
        "../2026-11-29_18-05-31_motion.mkv", "2026-11-29_18-05-31_motion.mkv/..", "2026-11-29_18-05-31_.mkv",
        "2026-11-29_18-05-31_motion.mkv\n", "2026-11-29_18-05-31_Motion.mkv", "2026-11-29_18-05-31_motion.mp4",
        "２０２６-11-29_18-05-31_motion.mkv", "2026-11-29_18-05-31_motion.mkv.jpg", "", ".mkv",
    ):  # fmt: skip
        assert names.parse(wrong) is None, wrong
