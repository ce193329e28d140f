"""Masks of a CSI camera: black in every picture that leaves the process, whatever encodes it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import picamera2.platform
import pytest
from picamera2.platform import Platform
from PIL import Image, ImageOps

from pi_cam_daemon.camera import csi_drawing
from pi_cam_daemon.camera.source import Stop, TakeStill
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.imaging.masks import Masks
from tests.picamera.pi import EncoderNode, Recorder, running, source

RECTANGLES = [[0.5, 0.55, 0.3, 0.3], [0.0, 0.9, 0.1, 0.1]]
DARK = 24  # JPEG blurs the edges of what was black before


def shown(jpeg: bytes) -> Any:
    """Return the pixels of *jpeg* as a browser shows them."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))).convert("RGB"))


def masked(jpeg: bytes) -> tuple[float, float]:
    """Return the strongest colour inside the masks of *jpeg*, without their edges, and the mean of the whole."""
    pixels = shown(jpeg).astype(float)
    height, width = pixels.shape[:2]
    masks = Masks.of(RECTANGLES)
    inside = [
        pixels[top + 4 : bottom - 4, left + 4 : right - 4] for left, top, right, bottom in masks.boxes(width, height)
    ]
    return max(part.mean(axis=(0, 1)).max() for part in inside), pixels.mean()


@pytest.fixture
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setattr(picamera2.platform, "_platform", request.param)
    return request.param  # type: ignore[no-any-return]


TURNS: list[dict[str, Any]] = [
    {},
    {"rotation": 90},
    {"rotation": 180, "hflip": True},
    {"rotation": 270, "vflip": True},
    {"rotation": 90, "rotation_method": "exif"},
]


@pytest.mark.parametrize(
    ("platform", "turn"),
    [*((Platform.VC4, turn) for turn in TURNS), *((Platform.PISP, turn) for turn in TURNS[:2])],
    indirect=["platform"],
    ids=str,
)
@pytest.mark.usefixtures("platform")
def test_the_stream_the_small_stream_and_a_still_are_masked(encoder: EncoderNode, turn: dict[str, Any]) -> None:
    encoder.set(quality=90)
    with running(source(masks=RECTANGLES, **turn)) as recorder:
        recorder.wait_for(3)
        still = recorder.take_still()
        assert still.refused == ""
        recorder.wait_for_more(2)
        small = recorder.ask_small(2)
    pictures = [jpeg for jpeg, *_ in recorder.frames] + [jpeg for jpeg, _ in small] + [still.jpeg]
    for jpeg in pictures:
        inside, whole = masked(jpeg)
        assert inside < DARK < whole - 20
    plain = shown(pictures[0])
    assert plain[10:40, -40:-10].mean() > 40, "the rest is there"


def test_the_overlay_is_drawn_on_top_of_a_mask(encoder: EncoderNode) -> None:
    encoder.set(quality=90)
    with running(source(masks=[[0, 0, 1, 1]], overlay="MMMMMMMMMMMM")) as recorder:
        recorder.wait_for(3)
    pixels = shown(recorder.frames[2][0])
    assert pixels[:40, :120].max() > 150
    assert pixels[60:].max() < DARK


def broken(*_: object) -> None:
    raise RuntimeError("no room to draw")


def test_without_masks_nothing_is_done_to_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csi_drawing.Drawing, "_draw", broken)
    with running(source()) as recorder:
        recorder.wait_for(3)


@pytest.mark.parametrize("full_size", [False, True])
def test_masks_that_cannot_be_drawn_end_the_pictures(monkeypatch: pytest.MonkeyPatch, full_size: bool) -> None:
    sound = csi_drawing._blacken

    def only_in_full_size(request: Any, *rest: Any) -> None:
        (sound if request.config["lores"] else broken)(request, *rest)

    monkeypatch.setattr(csi_drawing, "_blacken", only_in_full_size if full_size else broken)
    recorder = Recorder(source(masks=RECTANGLES))
    recorder.start()
    if full_size:
        recorder.wait_for(1)
        recorder.commands.put(TakeStill(1))
    try:
        error = recorder.ended()
    finally:
        recorder.commands.put(Stop())
    assert isinstance(error, SourceError)
    assert error.cause is Cause.BROKEN
    assert error.message == "The masks cannot be drawn, so there are no pictures: no room to draw"
    assert recorder.stills == []
    assert full_size or recorder.events[1:] == []
