"""Masks on the whole daemon: black at every address, and no picture of before once they are set."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pi_cam_daemon.imaging import jpeg
from tests.kit.daemon import Daemon, running
from tests.kit.wait import until
from tests.kit.wire import Reading
from tests.server.test_small import SETTINGS

# in the bars of the test picture at each turn, which are bright
MASKS = [[0.42, 0.42, 0.16, 0.16], [0.8, 0.5, 0.1, 0.1]]
STREAMS = ["/stream", "/stream.mjpg", "/video", "/mjpeg/stream", "/?action=stream"]
SNAPSHOTS = ["/snapshot", "/snapshot.jpg", "/mjpeg/snapshot", "/?action=snapshot", "/snapshot?max_age_ms=3600000"]
TURNS: list[dict[str, Any]] = [
    {},
    {"rotation": 90, "hflip": True},
    {"rotation": 180, "vflip": True, "rotation_method": "exif"},
    {"rotation": 270, "rotation_method": "exif"},
]


def shown(picture: bytes) -> np.ndarray[Any, Any]:
    """Return the brightness of *picture*, upright as a browser shows it."""
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)


def inside(picture: bytes) -> float:
    """Return the brightness of the brightest mask in *picture*, without its edges, which JPEG blurs."""
    pixels = shown(picture)
    height, width = pixels.shape
    parts = []
    for x, y, across, down in MASKS:
        part = pixels[int(y * height) : int((y + down) * height), int(x * width) : int((x + across) * width)]
        parts.append(part[2:-2, 2:-2].mean())
    return float(max(parts))


def is_masked(picture: bytes) -> bool:
    assert shown(picture).max() > 100, "the rest of the picture is there"
    return inside(picture) < 25


@pytest.fixture(scope="module", params=TURNS, ids=str)
def masked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    turn = {f"video.{key}": value for key, value in request.param.items()}
    with running(tmp_path_factory.mktemp("masked") / "daemon", {**SETTINGS, "video.masks": MASKS, **turn}) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def test_pictures_have_their_masks_at_every_address(masked: Daemon) -> None:
    for target, size in itertools.product(STREAMS, ("big", "small")):
        viewer = masked.watch(f"{target}{'&' if '?' in target else '?'}size={size}")
        assert all(is_masked(part.jpeg) for part in viewer.parts(2)), (target, size)
        viewer.close()
    for target, size in itertools.product(SNAPSHOTS, ("big", "small")):
        status, _, picture = masked.get(f"{target}{'&' if '?' in target else '?'}size={size}")
        assert status == 200 and is_masked(picture), (target, size)
    status, _, still = masked.get("/still.jpg", timeout=30)
    assert status == 200 and max(jpeg.size(still)) > 3000
    assert is_masked(still)


def save(daemon: Daemon, masks: list[list[float]] | None) -> None:
    status, _, body = daemon.post("/settings", json.dumps({"video.masks": masks}).encode())
    assert status == 200, body


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.mark.parametrize("way", ["page", "reload"])
def test_no_picture_of_before_is_shown_once_masks_are_set(daemon: Daemon, way: str) -> None:
    readings = [Reading(daemon.watch(f"/stream?size={size}")) for size in ("big", "small")]
    until("pictures of both sizes", lambda: all(len(reading.parts) > 2 for reading in readings))
    assert not is_masked(daemon.get("/snapshot?max_age_ms=3600000")[2])
    for number in range(2):
        if way == "page":
            save(daemon, MASKS)
        else:
            daemon.reload({**SETTINGS, "video.masks": MASKS})
        for size in ("big", "small"):
            status, _, picture = daemon.get(f"/snapshot?size={size}&max_age_ms=3600000")
            assert status == 200 and is_masked(picture), (number, size)
        # in the order of their coming: one without masks may have been on its way, in buffers
        for reading in readings:
            least = len(reading.parts)
            until("more pictures", lambda reading=reading, least=least: len(reading.parts) > least + 5)
            pictures = [part for part in reading.parts[least + 2 :] if b"X-No-Picture" not in part.header]
            assert pictures and all(is_masked(part.jpeg) for part in pictures)
        if way == "page":
            save(daemon, None)
        else:
            daemon.reload(SETTINGS)
        until("pictures without masks", lambda: not is_masked(daemon.get("/snapshot")[2]))
    for reading in readings:
        reading.finish()
        reading.viewer.close()


@pytest.mark.parametrize(
    ("masks", "error"),
    [
        ("all", 'accepted: a list of [x, y, width, height]'),
        ([0.1, 0.1, 0.2, 0.2], "entry 1: 0.1 cannot be used; accepted: [x, y, width, height] in fractions"),
        ([[0, 0, 0.5, 0.5], [0.5, 0.5, 0.6, 0.1]], "entry 2: [0.5, 0.5, 0.6, 0.1] cannot be used"),
        ([[0, 0, 0.5]], "entry 1: [0, 0, 0.5] cannot be used"),
        ([[0, 0, 0.1, 0.1]] * 17, "17 rectangles cannot be used; accepted: at most 16"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_masks_are_refused_and_change_nothing(masked: Daemon, masks: object, error: str) -> None:
    status, _, body = masked.post("/settings", json.dumps({"video.masks": masks}).encode())
    assert status == 400
    assert error in json.loads(body)["errors"]["video.masks"]
    assert json.loads(masked.get("/settings")[2])["settings"]["video.masks"]["value"] == MASKS


def test_masks_are_kept_over_a_restart(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        save(daemon, MASKS)
        state = daemon.state_folder / "settings.toml"
        kept = state.read_text()
    assert "video.masks = [[0.42, 0.42, 0.16, 0.16], [0.8, 0.5, 0.1, 0.1]]" in kept
    again = tmp_path / "again"
    (again / "state").mkdir(parents=True)
    (again / "state" / "settings.toml").write_text(kept)
    with running(again, SETTINGS) as daemon:
        assert is_masked(daemon.get("/snapshot", timeout=30)[2])
