"""The text in the corner of every picture."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pi_cam_daemon.config import converters
from pi_cam_daemon.config.schema import VideoConfig
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.imaging.overlay import Overlay
from tests.kit.sources import video

GREY = 128


def grey(height: int = 240, width: int = 320) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def box(picture: npt.NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rectangle in which *picture* has changed."""
    rows, columns = np.nonzero(np.abs(picture.astype(np.int16) - GREY).reshape(*picture.shape[:2], -1).max(axis=2) > 60)
    assert len(rows), "there is no text"
    return slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)


def settings(**changes: Any) -> VideoConfig:
    return replace(video(320, 240, quality=95, overlay="{time} {host} {rate}"), **changes)


def stored(data: bytes) -> npt.NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags), np.uint8)


@pytest.mark.parametrize("size", [(240, 320), (1080, 1920), (2464, 3280)])
@pytest.mark.parametrize("colours", [False, True])
def test_the_text_is_light_on_dark_in_the_top_left_corner_only(size: tuple[int, int], colours: bool) -> None:
    picture = grey(*size) if colours else grey(*size)[:, :, 0]
    Overlay("{time} {host} {rate}").draw(picture)
    rows, columns = box(picture)
    assert (rows.start, columns.start) == (0, 0)
    assert rows.stop < size[0] / 8
    text = picture[rows, columns]
    assert text.min() < 30 and text.max() > 220
    picture[rows, columns] = GREY
    assert (picture == GREY).all()


def test_text_that_is_too_long_is_drawn_smaller() -> None:
    picture = grey(240, 200)
    Overlay("x" * 60).draw(picture)
    _, columns = box(picture)
    assert 150 < columns.stop <= 200


@pytest.mark.parametrize("size", [(16, 16), (2, 2)])
def test_a_picture_without_room_for_text_stays_as_it_is(size: tuple[int, int]) -> None:
    Overlay("{time} {host} {rate}").draw(grey(*size))


def test_the_text_changes_with_the_time_and_is_drawn_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "time", lambda: now)
    overlay = Overlay("{time}")
    seen = set()
    cost = []
    for number in range(62):  # two and a half seconds, from the middle of one
        now = 1_700_000_000.5 + number / 25
        picture = grey()
        begin = time.thread_time()
        overlay.draw(picture)
        cost.append(time.thread_time() - begin)
        seen.add(picture.tobytes())
    assert len(seen) == 3
    assert sorted(cost)[len(cost) // 2] < 0.001


@pytest.mark.parametrize("method", ["pixels", "exif"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
def test_the_text_is_upright_in_a_turned_picture(rotation: int, method: str, hflip: bool) -> None:
    """Compared with the same text on a picture that is not turned."""
    turned = settings(rotation=rotation, hflip=hflip, rotation_method=method, overlay="TOP LEFT")
    data = Orientation.of(turned).encode(grey())
    jpeg.check(data)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # which obeys a mark
    assert seen is not None
    expected = grey(*seen.shape[:2])
    Overlay("TOP LEFT").draw(expected)
    assert np.abs(seen.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("method", ["pixels", "exif"])
def test_encoded_pictures_get_the_text_too(method: str) -> None:
    plain = Orientation(0, hflip=False, vflip=False, quality=95).encode(grey())
    orientation = Orientation.of(settings(rotation=90, rotation_method=method, overlay="TOP LEFT"))
    assert not orientation.identity
    seen = cv2.imdecode(np.frombuffer(orientation.jpeg(plain), np.uint8), cv2.IMREAD_COLOR)
    assert seen is not None and seen.shape == (320, 240, 3)
    rows, columns = box(np.asarray(seen, np.uint8))
    assert (rows.start, columns.start) == (0, 0)


def test_buffers_that_were_drawn_on_can_be_used_again() -> None:
    picture = grey()
    Orientation.of(settings()).encode(picture)
    assert (picture == GREY).all()


def test_the_view_is_the_same_memory_turned_like_the_picture() -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(4, 6)
    colours = np.repeat(picture[:, :, np.newaxis], 3, axis=2)
    for rotation in (0, 90, 180, 270):
        for hflip in (False, True):
            orientation = Orientation(rotation, hflip=hflip, vflip=False)
            assert np.shares_memory(orientation.view(picture), picture)
            assert np.array_equal(orientation.view(picture), orientation.array(colours)[:, :, 0])


@pytest.mark.parametrize("template", ["", "{time}", "Hall {host}: {rate}!", "50% ~|"])
def test_a_template_is_ascii_with_known_words(template: str) -> None:
    assert converters.overlay(template) == template


@pytest.mark.parametrize(
    "template", ["Küche", "현관 {time}", "{user}", "{time!r}", "{time:>99999999}", "{0}", "{", "a\nb", "x" * 101, 3]
)
def test_an_undrawable_template_is_refused_with_the_accepted_words(template: object) -> None:
    with pytest.raises(ValueError, match=re.escape("ASCII characters, with {time}, {host} and {rate}")):
        converters.overlay(template)
