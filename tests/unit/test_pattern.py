"""The test picture."""

import itertools
import time

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pi_cam_daemon.camera.pattern import PatternSource, next_slot
from pi_cam_daemon.camera.source import Source
from pi_cam_daemon.config.schema import VideoConfig
from pi_cam_daemon.errors import Cause, SourceError
from tests.kit.lateness import patience
from tests.kit.sources import SMALL, SourceContract, decoded, running, video
from tests.kit.wait import until


class TestPattern(SourceContract):
    def make(self, settings: VideoConfig) -> Source:
        return PatternSource(settings, SMALL)

    @pytest.mark.parametrize(
        "size", [(16, 16), (64, 48), (48, 640), (640, 16), (332, 18), (1920, 1080), (4096, 3072)], ids=str
    )
    def test_any_size_can_be_drawn(self, size: tuple[int, int]) -> None:
        width, height = size
        with running(self.make(video(width, height))) as run:
            frames = run.wait_for_frames(2)
        assert {decoded(data).shape for data, _ in frames} == {(height, width, 3)}

    def test_a_size_too_large_for_a_jpeg_is_a_settings_error(self) -> None:
        with pytest.raises(SourceError, match="65536x16") as caught, running(self.make(video(65536, 16))) as run:
            run.wait_for_frames(1)
        assert caught.value.cause is Cause.SETTINGS
        assert run.delivered == []

    def test_the_configured_quality_is_used(self) -> None:
        lengths = []
        for quality in (10, 50, 95):
            with running(self.make(video(320, 240, quality=quality))) as run:
                lengths.append(len(run.wait_for_frames(1)[0][0]))
        assert lengths == sorted(lengths)
        assert lengths[-1] > 2 * lengths[0]

    @pytest.mark.parametrize("vflip", [False, True])
    @pytest.mark.parametrize("hflip", [False, True])
    @pytest.mark.parametrize("rotation", [0, 90, 180, 270])
    def test_rotation_and_flips_are_real_pixels(self, rotation: int, hflip: bool, vflip: bool) -> None:
        width, height = 48, 64
        settings = video(width, height, quality=95, rotation=rotation, hflip=hflip, vflip=vflip)
        with running(self.make(settings)) as run:
            pixels = decoded(run.wait_for_frames(1)[0][0]).astype(int)
        assert pixels.shape == (run.info.height, run.info.width, 3)
        pixels = np.rot90(pixels, rotation // 90)  # back, which numpy does anticlockwise
        assert pixels.shape == (height, width, 3)
        if vflip:
            pixels = pixels[::-1]
        if hflip:
            pixels = pixels[:, ::-1]
        self.assert_upright(pixels)

    @pytest.mark.parametrize("rotation", [90, 180])
    def test_by_exif_the_pixels_stay_and_a_mark_says_how_to_turn_them(self, rotation: int) -> None:
        with running(self.make(video(64, 48, quality=95, rotation=rotation, rotation_method="exif"))) as run:
            data = np.frombuffer(run.wait_for_frames(1)[0][0], np.uint8)
        assert (run.info.width, run.info.height) == (64, 48)
        stored = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION).astype(int)
        self.assert_upright(stored)
        # OpenCV obeys the mark
        assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR), np.rot90(stored, -rotation // 90))

    def assert_upright(self, pixels: npt.NDArray[np.int_]) -> None:
        height = len(pixels)
        top_left, top_right, bottom = pixels[height // 5, 0], pixels[height // 5, -1], pixels[-1]
        assert top_left.min() > 150, "the first bar is light grey"
        assert top_right[0] > 120 > 60 > top_right[2], "the last bar is blue"
        assert bottom.max() < 90, "the panel is dark"

    def test_every_frame_differs_from_the_one_before(self) -> None:
        with running(self.make(video(320, 240))) as run:
            pictures = [data for data, _ in run.wait_for_frames(10)]
        assert all(earlier != later for earlier, later in itertools.pairwise(pictures))

    def test_moving_parts_leave_no_trace(self) -> None:
        """All of a picture but the mark and the text stays the same, however often it was drawn."""
        with running(self.make(video(320, 240, framerate=100.0))) as run:
            pictures = [decoded(data).astype(int) for data, _ in run.wait_for_frames(100)]
        ramp = [picture[165] for picture in pictures]
        usual = np.median(ramp, axis=0)
        changed = [int((np.abs(row - usual).max(axis=1) > 40).sum()) for row in ramp]
        assert max(changed) < 320 // 10, "the mark is a fortieth of the width, and JPEG blurs it"
        assert np.abs(pictures[0][:140] - pictures[-1][:140]).max() < 10

    @pytest.mark.parametrize(("size", "has_text"), [((64, 48), False), ((160, 120), True), ((1280, 720), True)])
    def test_unreadably_small_text_is_left_out(self, size: tuple[int, int], has_text: bool) -> None:
        width, height = size
        with running(self.make(video(width, height))) as run:
            panel = decoded(run.wait_for_frames(1)[0][0])[round(height * 0.8) :]
        assert (panel.min(axis=2).max() > 130) == has_text

    def test_a_stop_need_not_wait_for_the_next_frame(self) -> None:
        with running(self.make(video(framerate=0.01))) as run:
            run.wait_for_frames(1)
            assert run.stop() < patience(1)

    def test_the_rate_is_kept(self) -> None:
        start_ns = time.monotonic_ns()
        with running(self.make(video(framerate=40.0))) as run:
            frames = run.wait_for_frames(41)
        # frame 41 is due one second after the start; a loaded machine may be late, none may be early
        assert 0.999 < (frames[-1][1] - start_ns) / 1e9 < patience(3)

    def test_no_burst_follows_a_delay(self) -> None:
        with running(self.make(video(framerate=20.0)), dawdle=0.5) as run:
            frames = run.wait_for_frames(11)
        first, after_delay, last = frames[0][1], frames[1][1], frames[10][1]
        assert after_delay - first >= 500_000_000
        # nine frames later; a loaded machine may have been late by a frame the first time
        assert last - after_delay >= 8 / 20 * 1e9


def test_the_next_slot_is_the_following_one_when_in_time() -> None:
    assert next_slot(7, elapsed_ns=7 * 40 + 5, period_ns=40.0) == 8
    assert next_slot(7, elapsed_ns=8 * 40, period_ns=40.0) == 8


def test_past_slots_are_skipped() -> None:
    assert next_slot(7, elapsed_ns=20 * 40 + 1, period_ns=40.0) == 21


def test_a_wait_that_ended_early_does_not_repeat_a_slot() -> None:
    assert next_slot(7, elapsed_ns=7 * 40 - 1, period_ns=40.0) == 8


@pytest.mark.parametrize("size", [(16, 16), (160, 120), (640, 480), (1920, 1080), (480, 640)], ids=str)
def test_a_notice_is_on_the_picture_and_leaves_the_arrow_and_the_clock(size: tuple[int, int]) -> None:
    settings = video(*size)
    with running(PatternSource(settings, SMALL)) as run:
        plain = decoded(run.wait_for_frames(1)[0][0])
    with running(PatternSource(settings, SMALL, "There is no USB camera; caf\u00e9")) as run:
        noted = decoded(run.wait_for_frames(1)[0][0])
    changed = np.abs(plain.astype(int) - noted).max(axis=(1, 2)) > 60
    top, bottom = round(size[1] * 0.25), round(size[1] * 0.6)
    assert not changed[:top].any()
    assert changed[top:bottom].any() == (min(size) >= 120), "unreadable letters are left out"


def test_a_picture_that_is_not_wanted_is_counted_and_not_drawn() -> None:
    with running(PatternSource(video(), SMALL)) as run:
        run.wait_for_frames(1)
        run.wanted = False
        until("pictures that are passed over", lambda: run.passed_over > 3)
        count = len(run.frames)
        passed = run.passed_over
        until("more of them", lambda: run.passed_over > passed + 3)
        assert len(run.frames) == count
        run.wanted = True
        run.wait_for_frames(count + 2)
