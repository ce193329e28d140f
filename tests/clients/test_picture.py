"""Every program decodes the stream at every address without warnings and in the right orientation."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.clients import picture
from tests.clients.programs import PROGRAMS, watching
from tests.kit.daemon import Daemon, running

# not whole blocks of 16 pixels, which is how JPEG stores them: a turn that goes by blocks would cut or shift
WIDTH, HEIGHT = 328, 216
SIZE = {"video.width": WIDTH, "video.height": HEIGHT}

# what a program says of every MJPEG camera, or of a machine without screen and sound
KNOWN = {
    "ffmpeg": "deprecated pixel format used",
    "frigate": "deprecated pixel format used",
    "mpv": r"\[lavf\]",  # that FFmpeg finds no timestamps in MJPEG
    "vlc": "(interface|libvlc|audio output|filter|video output) error: |dummy interface: |deprecated pixel format used",
}


@dataclass(frozen=True)
class Turn:
    """An orientation of the camera's picture: mirrored first, then turned clockwise by *rotation* degrees."""

    rotation: int
    hflip: bool
    vflip: bool

    def __str__(self) -> str:
        return f"{self.rotation}{'-hflip' * self.hflip}{'-vflip' * self.vflip}"


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), SIZE) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


TURNS = [Turn(*turn) for turn in product((0, 90, 180, 270), (False, True), (False, True))]
# one that swaps width and height, and one that is only mirrored
FOR_ALL = (Turn(90, False, False), Turn(0, True, False))
DECODER = "ffmpeg"


@pytest.fixture(scope="module")
def turned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Turn]]:
    """Start a daemon for each orientation; return both."""
    turn: Turn = request.param
    settings = {"video.rotation": turn.rotation, "video.hflip": turn.hflip, "video.vflip": turn.vflip}
    with running(tmp_path_factory.mktemp("daemon"), SIZE | settings) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon, turn


@pytest.mark.parametrize("path", ["/stream", "/?action=stream", "/stream.mjpg?size=small"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_address_is_watched_without_complaint(upright: Daemon, program: str, path: str, tmp_path: Path) -> None:
    with watching(program, upright, tmp_path, path) as watcher:
        watcher.wait_for(10)
        assert [line for line in watcher.said() if not re.search(KNOWN.get(program, "$^"), line)] == []


def test_ffprobe_finds_size_and_format(upright: Daemon) -> None:
    argv = ["ffprobe", "-v", "warning", "-show_streams", "-of", "json", f"http://127.0.0.1:{upright.port}/stream"]
    probe = subprocess.run(argv, check=True, capture_output=True, timeout=20)
    (stream,) = json.loads(probe.stdout)["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("mjpeg", WIDTH, HEIGHT)
    assert probe.stderr == b""


def test_a_recording_is_recognised_without_its_content_type(upright: Daemon, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    url = f"http://127.0.0.1:{upright.port}/stream"
    subprocess.run(["curl", "--silent", "--max-time", "1", "--output", str(recording), url], timeout=20, check=False)
    argv = ["ffprobe", "-v", "error", "-show_entries", "format=format_name", "-of", "csv=p=0", str(recording)]
    probe = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20)
    assert probe.stdout == "mpjpeg\n"


def decoders(turn: Turn) -> Collection[str]:
    """Return the programs that look at a turn: all at some, and one at the others, whose bytes are alike to all."""
    return PROGRAMS if turn in FOR_ALL else [DECODER]


@pytest.mark.parametrize(
    ("turned", "program"),
    [pytest.param(turn, program, id=f"{turn}-{program}") for turn in TURNS for program in decoders(turn)],
    indirect=["turned"],
)
def test_the_picture_is_the_right_way_up(turned: tuple[Daemon, Turn], program: str, tmp_path: Path) -> None:
    daemon, turn = turned
    width, height = (WIDTH, HEIGHT) if turn.rotation in (0, 180) else (HEIGHT, WIDTH)
    with watching(program, daemon, tmp_path) as watcher:
        pixels = picture.decode(watcher.wait_for(2)[-1])
    if program == "vlc":  # what it saves of its window is stretched to what the decoder's buffers are made of
        width, height = -(-width // 16) * 16, -(-height // 32) * 32
    assert pixels.shape[:2] == (height, width)
    seen, expected = picture.corners(pixels), picture.turned(turn.rotation, turn.hflip, turn.vflip)
    assert picture.alike(seen, expected), f"corners {seen.tolist()} instead of {expected.tolist()}"
