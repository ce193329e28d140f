"""Looks for motion at the pictures of a CSI camera: at its second stream, with the exposure that libcamera tells."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import picamera2.platform
import pytest
from picamera2.platform import Platform
from virtual_pi import PiCamera

from pi_cam_daemon.camera import csi_small
from tests.kit.lateness import patience
from tests.picamera.pi import Recorder, picture, running, source

Facts = tuple[float, ...]


@pytest.fixture(params=[Platform.VC4, Platform.PISP], ids=["Pi 4", "Pi 5"], autouse=True)
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picamera2.platform, "_platform", request.param)


def looked(recorder: Recorder, count: int = 3) -> list[tuple[Any, int, Facts]]:
    """Look at all pictures from now on; return so many looks."""
    before, recorder.asks_looks = len(recorder.looks), True
    recorder.until(f"{count} looks", lambda: len(recorder.looks) >= before + count)
    return recorder.looks[before:]


@pytest.mark.parametrize("method", ["pixels", "exif"])
@pytest.mark.parametrize(
    ("size", "rotation", "shape"),
    [((640, 480), 0, (120, 160)), ((1280, 720), 180, (90, 160)), ((640, 480), 90, (160, 120))],
)
def test_looks_are_grey_and_upright(size: tuple[int, int], rotation: int, shape: tuple[int, int], method: str) -> None:
    settings = {"width": size[0], "height": size[1], "rotation": rotation, "rotation_method": method, "hflip": True}
    with running(source(**settings)) as recorder:
        grey, captured, _ = looked(recorder)[-1]
        recorder.until("the same picture", lambda: captured in [at for _, at, _ in recorder.frames])
        jpeg = next(jpeg for jpeg, at, _ in recorder.frames if at == captured)
    assert grey.shape == shape
    whole = np.asarray(picture(jpeg).convert("L"))
    if method == "exif" and rotation == 90:
        from PIL import ImageOps

        whole = np.asarray(ImageOps.exif_transpose(picture(jpeg)).convert("L"))
    wanted = cv2.resize(whole, shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(grey.astype(int) - wanted).mean() < 10


def test_nothing_is_copied_while_nobody_watches_for_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    thinned = csi_small.thinned
    monkeypatch.setattr(csi_small, "thinned", lambda pixels: copied.append(1) or thinned(pixels))
    with running(source()) as recorder:
        recorder.wait_for(10)
        recorder.ask_small(2)
        assert (copied, recorder.looks) == ([], [])
        looked(recorder)
    assert copied


def test_the_exposure_of_each_picture_is_known(imx219: PiCamera) -> None:
    with running(source()) as recorder:
        before = looked(recorder)[-1][2]
        metadata = imx219.metadata()
        assert before[0] == pytest.approx(metadata["ExposureTime"] * metadata["AnalogueGain"], rel=0.01)
        assert recorder.set(shutter=5_000, gain=2.0).refused == {}
        recorder.until("it is darker", lambda: recorder.looks[-1][2][0] == pytest.approx(10_000, rel=0.01))
        after = recorder.looks[-1][2]
    assert len(after) == len(before)


def test_looks_are_made_while_nobody_wants_pictures_and_again_after_a_still() -> None:
    recorder = Recorder(source())
    recorder.wanted = False
    recorder.start()
    looked(recorder, 5)
    recorder.wanted = True
    assert recorder.take_still().refused == ""
    times = [captured for _, captured, _ in looked(recorder, 5)]
    assert recorder.stop() < patience(1.5)
    assert recorder.error is None
    assert times == sorted(set(times))
