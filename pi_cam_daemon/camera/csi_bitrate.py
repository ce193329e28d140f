"""The bitrate for the hardware JPEG encoder, which takes no quality: chosen and adapted for pictures of a wanted size.

The encoder gives a picture about bitrate / 8 / frame rate bytes. The kernel's driver limits the bitrate to 25 Mbit/s.
So a lower frame rate is claimed for large pictures, which leaves more bytes for each. Firmware may ignore the claim:
the sizes of the pictures that come decide.
"""

from __future__ import annotations

import itertools
import statistics

# What simplejpeg needs at a quality, in bits per pixel: medians of photos, 4:2:0. The ends are extrapolated.
_BITS_PER_PIXEL = ((1, 0.1), (25, 0.58), (50, 0.85), (80, 1.40), (90, 2.08), (95, 3.07), (100, 6.0))

# limits of the kernel's bcm2835-v4l2-codec, in bits per second; it silently replaces values outside
_LOWEST, _HIGHEST, _STEP = 25_000, 25_000_000, 25_000
# the frame rate that the driver assumes if none is claimed
_USUAL_RATE = 30.0
# the driver's buffers for one picture, in bytes: up to 1280x720, and above
_BUFFER, _LARGE_BUFFER = 512 * 1024, 768 * 1024
# the largest aim, as a share of a buffer: single pictures are larger
_AIM_SHARE = 0.6

# The encoder begins with quality 7 and moves it by one for each picture until the size fits (waveform80/picamera #315):
# so many pictures say nothing about a new bitrate.
SETTLING_PICTURES = 100
# so many of them may be too large for the buffer: the quality goes down with each
_OVERFLOWS = 10
_JUDGED = 15  # pictures whose median size is compared with the aim
_TOLERANCE = 0.1
_LARGEST_CHANGE = 2.0


def wanted_bytes(width: int, height: int, quality: int) -> int:
    """Return the size of a picture of *width* x *height* pixels that the software encoder has at *quality* (1 to 100).

    It is at most what fits well into the encoder's buffer.
    """
    segment = next(pair for pair in itertools.pairwise(_BITS_PER_PIXEL) if quality <= pair[1][0])
    (low, fewer), (high, more) = segment
    bits = fewer + (quality - low) * (more - fewer) / (high - low)
    buffer = _BUFFER if width * height <= 1280 * 720 else _LARGE_BUFFER
    return round(min(bits * width * height / 8, _AIM_SHARE * buffer))


class BitrateControl:
    """Finds the bitrate at which pictures of *width* x *height* pixels have the size for *quality* (1 to 100).

    *bitrate* is in bits per second. *framerate* is what to claim to the encoder, in frames per second: half the highest
    bitrate is enough then, and the other half is for a correction.
    """

    def __init__(self, width: int, height: int, quality: int) -> None:
        self._aim = wanted_bytes(width, height, quality)
        self.framerate = min(_USUAL_RATE, _HIGHEST / 2 / (8 * self._aim))
        self._most = float(_HIGHEST)
        self.bitrate = self._bounded(self._aim * 8 * self.framerate)
        self._sizes: list[int] = []
        self._to_settle = SETTLING_PICTURES

    def changed(self, size: int) -> bool:
        """Count a picture of *size* bytes. Return True if *bitrate* was changed, and has to be set."""
        if self._to_settle:
            self._to_settle -= 1
            return False
        self._sizes.append(size)
        if len(self._sizes) < _JUDGED:
            return False
        ratio = self._aim / statistics.median(self._sizes)
        self._sizes.clear()
        if abs(ratio - 1) <= _TOLERANCE:
            return False
        return self._set(self.bitrate * min(max(ratio, 1 / _LARGEST_CHANGE), _LARGEST_CHANGE))

    def overflowed(self) -> bool:
        """Count a picture that did not fit into the encoder's buffer. Return the same as `changed`.

        The bitrate at which that goes on is too high for good.
        """
        self._to_settle -= bool(self._to_settle)
        if self._to_settle > SETTLING_PICTURES - _OVERFLOWS:
            return False
        self._sizes.clear()
        self._most = max(float(_LOWEST), self.bitrate / _LARGEST_CHANGE)
        return self._set(self._most)

    def _set(self, bitrate: float) -> bool:
        before, self.bitrate = self.bitrate, self._bounded(bitrate)
        if self.bitrate == before:
            return False
        self._to_settle = SETTLING_PICTURES
        return True

    def _bounded(self, bitrate: float) -> int:
        bounded = min(max(bitrate, _LOWEST), self._most)
        return max(_LOWEST, int(bounded // _STEP) * _STEP)
