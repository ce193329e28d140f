"""Source for the test picture: colour bars over a grey ramp over a dark panel.

Up, down, left and right differ at any size. A mark that crosses the ramp, a clock and a counter show that it is live.
"""

from __future__ import annotations

import dataclasses
import time

import cv2
import numpy as np

from pi_cam_daemon.camera.looks import thinned
from pi_cam_daemon.camera.source import Commands, Sink, Stop, TakeStill, next_command
from pi_cam_daemon.config.schema import SmallConfig, VideoConfig
from pi_cam_daemon.imaging import grey
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.lettering import SMALLEST_SCALE, Colour, Letters, Pixels, fit, height_of
from pi_cam_daemon.imaging.local_time import local_time
from pi_cam_daemon.imaging.orientation import Orientation
from pi_cam_daemon.imaging.shrink import Shrink
from pi_cam_daemon.ipc.messages import CameraInfo, Still

# 75 % bars in the order of SMPTE RP 219, from bright to dark
_BARS: tuple[Colour, ...] = (
    (191, 191, 191), (0, 191, 191), (191, 191, 0), (0, 191, 0), (191, 0, 191), (0, 0, 191), (191, 0, 0),
)  # fmt: skip
_DARK: Colour = (30, 26, 24)
_LIGHT: Colour = (240, 240, 240)
_GREY: Colour = (170, 170, 170)
_MARK: Colour = (0, 140, 255)
_NOTICE = "No camera: this is a test picture"
_CROSSING_NS = 2_000_000_000
# the size of a still: that of a Camera Module 2
_STILL = (3280, 2464)


class PatternSource:
    """Delivers test pictures with the size, rate, orientation and quality of *video*, and with *notice* on them."""

    def __init__(self, video: VideoConfig, small: SmallConfig, notice: str = "") -> None:
        self._video = video
        self._small = small
        self._notice = notice

    def run(self, sink: Sink, commands: Commands) -> None:
        """Draw and deliver frames until a Stop; SourceError if OpenCV cannot encode pictures of this size.

        Frame n is due at start + n / framerate, so the rate never drifts. A frame that is late is skipped.
        """
        video = self._video
        picture = _Picture(video, self._notice)
        orientation = Orientation.of(video)
        small_orientation = Orientation.of(dataclasses.replace(video, quality=self._small.quality))
        shrink = Shrink(self._small.width, self._small.quality)
        period_ns = 1e9 / video.framerate
        start_ns = time.monotonic_ns()
        slot = number = 0
        while True:
            wait_ns = start_ns + slot * period_ns - time.monotonic_ns()
            quiet = sink.quiet_seconds if number else 0.0
            match next_command(commands, max(0.0, wait_ns / 1e9, quiet)):
                case Stop():
                    return
                case TakeStill(still):
                    sink.still(self._still(still, orientation))
            captured_ns = time.monotonic_ns()
            if captured_ns - start_ns < slot * period_ns:  # a command came before
                continue
            before, slot = slot, next_slot(slot, captured_ns - start_ns, period_ns)
            wanted, small_wanted, look_wanted = not number or sink.wanted, sink.claim_small(), sink.claim_look()
            if quiet > 0 or not wanted:
                sink.passed(slot - before - wanted)
            if not wanted and not small_wanted and not look_wanted:
                continue
            number += 1
            pixels = picture.draw(number, captured_ns)
            if small_wanted:
                sink.small(shrink.of_pixels(pixels, small_orientation), captured_ns)
            if look_wanted:
                sink.look(grey.of_pixels(thinned(pixels), orientation), captured_ns, ())
            if not wanted:
                continue
            jpeg = orientation.encode(pixels)
            if number == 1:
                size = orientation.size(video.width, video.height)
                encoder = "software JPEG (OpenCV)"
                sink.opened(CameraInfo("pattern", "Test picture", *size, video.framerate, "BGR24", encoder))
            sink.frame(jpeg, captured_ns)

    def _still(self, number: int, orientation: Orientation) -> Still:
        captured_ns = time.monotonic_ns()
        width, height = _STILL
        picture = _Picture(dataclasses.replace(self._video, width=width, height=height), self._notice)
        jpeg = orientation.encode(picture.draw(number, captured_ns))
        return Still(number, orientation.described(jpeg, Photo(captured_ns, "Test picture")), captured_ns)


def next_slot(slot: int, elapsed_ns: int, period_ns: float) -> int:
    """Return the number of the next frame that is due: *slot* + 1, or the first one that is not late."""
    return max(slot + 1, -int(-elapsed_ns // period_ns))


class _Picture:
    """Draws the test picture: everything once, then only the parts that move."""

    def __init__(self, video: VideoConfig, notice: str) -> None:
        width, height = video.width, video.height
        self._pixels: Pixels = np.empty((height, width, 3), np.uint8)
        bars, self._strip, panel = np.split(self._pixels, (round(height * 0.62), round(height * 0.72)))
        self._ramp = np.linspace(16, 235, width).astype(np.uint8)[:, np.newaxis]
        self._mark = slice(0, max(2, width // 40))
        for column, colour in zip(np.array_split(bars, len(_BARS), axis=1), _BARS, strict=True):
            column[:] = colour
        self._strip[:] = self._ramp
        panel[:] = _DARK
        _draw_top(bars)
        if notice:
            _draw_notice(bars, notice)

        inner = _inner(panel, 0.03, 0.18)
        clock, _, facts = np.split(inner, (round(width * 0.45), round(width * 0.49)), axis=1)
        upper, lower = np.array_split(facts, 2)
        size_and_rate = f"{width}x{height} {video.framerate:g} fps"
        self._clock = _Text(clock, "00:00:00.0", _LIGHT)
        self._counter = _Text(upper, size_and_rate, _GREY)
        _Text(lower, size_and_rate, _GREY).show(size_and_rate)

    def draw(self, number: int, now_ns: int) -> Pixels:
        """Draw frame *number* at *now_ns* of the monotonic clock. The next call reuses the returned array."""
        self._strip[:, self._mark] = self._ramp[self._mark]
        mark_width = self._mark.stop - self._mark.start
        left = (len(self._ramp) - mark_width) * (now_ns % _CROSSING_NS) // _CROSSING_NS
        self._mark = slice(left, left + mark_width)
        self._strip[:, self._mark] = _MARK
        now = time.time()
        self._clock.show(f"{time.strftime('%H:%M:%S', local_time(now))}.{int(now * 10) % 10}")
        self._counter.show(f"frame {number}")
        return self._pixels


class _Text:
    """A line of text in a box, as large as *sample* fits; empty if that would be unreadable."""

    def __init__(self, box: Pixels, sample: str, colour: Colour) -> None:
        self._box = box
        self._colour = colour
        self._shown = ""
        height, width = box.shape[:2]
        self._letters = Letters(height / 20)
        while self._letters.scale >= SMALLEST_SCALE:
            wide, above, below = self._letters.measure(sample)
            if wide <= width and above + below <= height:
                self._baseline = (height + above) // 2
                break
            self._letters = Letters(self._letters.scale * 0.97)

    def show(self, text: str) -> None:
        """Replace the text in the box."""
        if text == self._shown or self._letters.scale < SMALLEST_SCALE:
            return
        self._shown = text
        self._box[:] = _DARK
        self._letters.draw(self._box, text, 0, self._baseline, self._colour)


def _inner(box: Pixels, horizontal: float, vertical: float) -> Pixels:
    """Return *box* without these shares of its width and height on either side."""
    height, width = box.shape[:2]
    x, y = round(width * horizontal), round(height * vertical)
    return box[y : height - y, x : width - x]


def _draw_top(bars: Pixels) -> None:
    """Draw an arrow and the word TOP in the upper middle."""
    height, width = bars.shape[:2]
    unit = min(height * 0.3, width * 0.16)
    with_word = unit >= 12  # pixels; the word is readable
    plate_width = unit * (2.6 if with_word else 1.0)
    left, top = (width - plate_width) / 2, height * 0.1
    plate = bars[round(top) : round(top + unit), round(left) : round(left + plate_width)]
    plate[:] = _DARK
    side = len(plate)
    arrow = np.array(((0.5, 0.12), (0.82, 0.5), (0.6, 0.5), (0.6, 0.88), (0.4, 0.88), (0.4, 0.5), (0.18, 0.5)))
    cv2.fillPoly(plate, [np.rint(arrow * side).astype(np.int32)], _LIGHT, cv2.LINE_AA)
    if with_word:
        _Text(_inner(plate[:, side:], 0.05, 0.1), "TOP", _LIGHT).show("TOP")


def _draw_notice(bars: Pixels, notice: str) -> None:
    """Draw *notice* on a plate below the arrow, as large as it fits; nothing if it would be unreadable."""
    plate = _inner(bars[round(len(bars) * 0.42) :], 0.04, 0.06)
    height, width = plate.shape[:2]
    text = notice.encode("ascii", "replace").decode()  # the font of OpenCV 4 has no other letters
    lines = fit(_NOTICE, text, round(width * 0.94), height * 0.9)
    if not lines:
        return
    plate[:] = _DARK
    top = (height - height_of(lines)) / 2
    for line in lines:
        line.draw(plate, top)
        top += line.height
