"""Finds what moves in a row of small grey pictures, and tells it from light that changes (decision 024).

It works on logarithms of brightness: a light that becomes half as strong then is the same difference everywhere.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pi_cam_daemon.ipc.messages import Box, Motion

Grey = npt.NDArray[np.uint8]
_Map = npt.NDArray[np.float32]

_DARK = 4  # added to a brightness: below it there is only noise
_LOGARITHMS = np.log(np.arange(256, dtype=np.float32) + _DARK)
_AROUND = 5  # the surroundings of a spot have this part of the picture's longer side
# seconds in which the background follows the light, and a spot of its own
_LIGHT_SECONDS, _SPOT_SECONDS = 0.5, 2.0
_NOISE_SECONDS = 20.0
_NOISES = 4.0  # a difference of so many times the usual one is no noise
_USUAL = 0.02  # difference, before it is known
_SHIFT = 0.15  # of the whole picture's brightness from one look to the next: a lamp, or the camera's exposure
_OF_NINE = 5
_FRESH = 0.15  # of what differs from the background has to differ from the look before, too
_FACTS = 0.05  # a share by which exposure, gain or white balance change
_LEARN_SECONDS, _SETTLE_SECONDS = 3.0, 1.0
_PAUSE_SECONDS = 2.0  # without a picture


class Suspended(enum.StrEnum):
    """The reasons why nothing is judged."""

    NOT = ""
    LEARNING = "learning"
    EXPOSURE = "exposure"
    LIGHT = "light"


@dataclass(frozen=True)
class Seen:
    """One look: the *share* of the looked-at area that moves, the *boxes* around it, and why nothing is judged."""

    share: float = 0.0
    boxes: tuple[Box, ...] = ()
    suspended: Suspended = Suspended.NOT


class Detector:
    """Compares each picture with a background that it learns.

    *zones* are looked at, in fractions of the picture; none means everywhere. *threshold* is the difference of
    brightness that counts, 0 to 1. *min_area* is the smallest area that counts, as a share of the zones.
    """

    def __init__(self, zones: Sequence[Sequence[float]], threshold: float, min_area: float) -> None:
        self._zones = zones
        self._threshold = -math.log1p(-min(threshold, 0.99))
        self._min_area = min_area
        self._at = -math.inf
        self._resume_at = 0.0
        self._why = Suspended.NOT
        self._facts: tuple[float, ...] = ()
        self._before: _Map = np.empty((0, 0), np.float32)

    def look(self, grey: Grey, at: float, facts: tuple[float, ...] = ()) -> Seen:
        """Return what moves in the upright picture *grey* (height x width), taken at *at* seconds.

        *facts* are the camera's exposure time, gain and the like, as far as it tells them.
        """
        now: _Map = cv2.LUT(grey, _LOGARITHMS)  # type: ignore[assignment]
        if now.shape != self._before.shape or not 0 < at - self._at < _PAUSE_SECONDS:
            self._begin(now, at, facts)
            return Seen(suspended=Suspended.LEARNING)
        seconds, self._at = at - self._at, at
        change = now - self._before
        self._before = now
        self._look_after(at, facts, change)
        light, differs = self._apart(now - self._ground)
        least = np.maximum(self._threshold, _NOISES * self._noise)
        # The light changes alike around a spot. Where it does not, as at the edge of a shadow, it has to change most.
        distinct = np.abs(differs) > least + np.abs(light)
        moving = np.abs(self._apart(change)[1]) > least
        if at < self._resume_at:
            self._ground += _part(seconds, _LIGHT_SECONDS) * (light + differs)
            self._learn_noise(differs, seconds, _LEARN_SECONDS)
            return Seen(suspended=self._why)
        self._ground += _part(seconds, _LIGHT_SECONDS) * light + _part(seconds, _SPOT_SECONDS) * differs
        self._learn_noise(differs, seconds, _NOISE_SECONDS)
        return self._regions(distinct, moving)

    def _begin(self, now: _Map, at: float, facts: tuple[float, ...]) -> None:
        height, width = now.shape
        self._ground, self._before, self._at, self._facts = now.copy(), now, at, facts
        self._noise = np.full_like(now, _USUAL)
        self._side = max(3, max(width, height) // (2 * _AROUND) | 1)  # at half the size, which is faster
        self._inside = np.zeros((height, width), np.uint8) if self._zones else np.ones((height, width), np.uint8)
        for x, y, wide, high in self._zones:
            rows = slice(math.floor(y * height), math.ceil((y + high) * height))
            self._inside[rows, math.floor(x * width) : math.ceil((x + wide) * width)] = 1
        self._looked_at = int(np.count_nonzero(self._inside))
        self._resume_at = 0.0
        self._suspend(Suspended.LEARNING, at, _LEARN_SECONDS)

    def _look_after(self, at: float, facts: tuple[float, ...], change: _Map) -> None:
        """Suspend the judgement if the camera or the light has changed since the look before."""
        if any(abs(new - old) > _FACTS * max(abs(new), abs(old)) for new, old in zip(facts, self._facts, strict=False)):
            self._suspend(Suspended.EXPOSURE, at, _SETTLE_SECONDS)
        elif abs(_median(change[::4, ::4])) > _SHIFT:
            self._suspend(Suspended.LIGHT, at, _SETTLE_SECONDS)
        self._facts = facts

    def _suspend(self, why: Suspended, at: float, seconds: float) -> None:
        if at + seconds > self._resume_at:
            self._resume_at, self._why = at + seconds, why

    def _apart(self, difference: _Map) -> tuple[_Map, _Map]:
        """Split *difference* into that of the light in the surroundings of each spot, and the spot's own."""
        height, width = difference.shape
        half = cv2.resize(difference, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        light: _Map = cv2.resize(cv2.blur(half, (self._side, self._side)), (width, height))  # type: ignore[assignment]
        return light, difference - light

    def _learn_noise(self, differs: _Map, seconds: float, within: float) -> None:
        self._noise += _part(seconds, within) * (np.abs(differs) - self._noise)

    def _regions(self, distinct: npt.NDArray[np.bool_], moving: npt.NDArray[np.bool_]) -> Seen:
        """Return the connected areas in *distinct* that are large enough, and of which enough is *moving*."""
        height, width = distinct.shape
        # without single spots: most of the nine around each have to be distinct
        spots = (cv2.boxFilter(distinct.view(np.uint8), -1, (3, 3), normalize=False) >= _OF_NINE) & self._inside
        if np.count_nonzero(spots) < self._min_area * self._looked_at:
            return Seen()
        joined = cv2.dilate(spots, np.ones((3, 3), np.uint8))
        count, labels, facts, _ = cv2.connectedComponentsWithStats(joined, ltype=cv2.CV_16U)
        sizes = np.bincount(labels[spots > 0], minlength=count)
        fresh = np.bincount(labels[(spots > 0) & moving], minlength=count)
        share, boxes = 0.0, []
        for number in range(1, count):
            if sizes[number] >= self._min_area * self._looked_at and fresh[number] >= _FRESH * sizes[number]:
                share += float(sizes[number]) / self._looked_at
                x, y, wide, high = (int(side) for side in facts[number][:4])
                boxes.append((x / width, y / height, wide / width, high / height))
        return Seen(min(1.0, share), tuple(boxes))


class Judge:
    """Tells when a motion begins and ends.

    It begins when something has moved in each look of *min_seconds*, at *rate* looks a second, and ends *quiet_seconds*
    after the last look in which something moved.
    """

    def __init__(self, min_seconds: float, quiet_seconds: float, rate: float) -> None:
        self._min_seconds = min_seconds - 0.5 / rate  # looks are never exactly on time
        self._quiet_seconds = quiet_seconds
        self._since: float | None = None
        self._last = 0.0
        self._peak = 0.0
        self._box: Box = (0.0, 0.0, 0.0, 0.0)
        self.moving = False

    def judge(self, seen: Seen, at: float) -> tuple[Motion, float] | None:
        """Take one look. Return a motion that begins or ends now, and the time of its first or its last picture."""
        if seen.boxes:
            if self._since is None:
                self._since, self._peak = at, 0.0
            self._last = at
            if seen.share >= self._peak:
                self._peak, self._box = seen.share, _around(seen.boxes)
            if not self.moving and at - self._since >= self._min_seconds:
                self.moving = True
                return Motion(False, self._peak, self._box), self._since
        elif not self.moving:
            self._since = None
        elif at - self._last >= self._quiet_seconds:
            return self.end()
        return None

    def end(self) -> tuple[Motion, float] | None:
        """End a motion that goes on."""
        if not self.moving:
            return None
        self.moving, self._since = False, None
        return Motion(True, self._peak, self._box), self._last


def _part(seconds: float, within: float) -> float:
    """Return the part of a difference that is left behind in *seconds* by something that follows *within* seconds."""
    return 1 - math.exp(-seconds / within)


def _median(values: _Map) -> float:
    """Return the median; numpy's own takes five times as long."""
    return float(np.partition(values.ravel(), values.size // 2)[values.size // 2])


def _around(boxes: Sequence[Box]) -> Box:
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    return left, top, min(1.0, right) - left, min(1.0, bottom) - top
