"""Measures, wraps and draws lines of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]  # blue, green, red

_TITLE: Colour = (235, 232, 230)
_DETAIL: Colour = (165, 158, 152)

CAPITAL = 22  # height of a capital at scale 1, in pixels
_LINE = 1.8  # distance of two lines, in heights of a capital
_DETAIL_SHARE = 0.65  # size of the detail's letters, relative to the title's
SMALLEST_SCALE = 0.25  # capitals of 5 pixels; smaller ones cannot be read


class Face(Protocol):
    """A font in one size."""

    def measure(self, text: str) -> tuple[int, int, int]:
        """Return the width of *text* and its height above and below the baseline, in pixels."""
        ...

    def draw(self, pixels: Pixels, text: str, left: int, baseline: int, colour: tuple[int, ...]) -> None:
        """Draw *text* into *pixels*."""
        ...


Typeface = Callable[[float], Face]  # the argument is the scale: 1.0 makes capitals of 22 pixels


@dataclass(frozen=True)
class Letters(Face):
    """OpenCV's *font* in one size. *weight* is the thickness of the strokes at scale 1, in pixels."""

    scale: float
    font: int = cv2.FONT_HERSHEY_DUPLEX
    weight: float = 1.2

    @property
    def _thickness(self) -> int:
        return max(1, round(self.scale * self.weight))

    def measure(self, text: str) -> tuple[int, int, int]:
        """Return the width of *text* and its height above and below the baseline, in pixels."""
        # the font differs between OpenCV 4 and 5; in 5 letters grow wider with the thickness
        (width, above), below = cv2.getTextSize(text, self.font, self.scale, self._thickness)
        return width, above, below

    def draw(self, pixels: Pixels, text: str, left: int, baseline: int, colour: tuple[int, ...]) -> None:
        """Draw *text* into *pixels*."""
        cv2.putText(pixels, text, (left, baseline), self.font, self.scale, colour, self._thickness, cv2.LINE_AA)


@dataclass(frozen=True)
class Line:
    """One line of text, drawn in the middle between left and right."""

    text: str
    scale: float
    colour: Colour
    typeface: Typeface

    @property
    def width(self) -> int:
        return self.typeface(self.scale).measure(self.text)[0]

    @property
    def height(self) -> float:
        return self.scale * CAPITAL * _LINE

    def draw(self, picture: Pixels, top: float) -> None:
        """Draw the line into *picture*, below *top*."""
        baseline = top + (self.height + self.scale * CAPITAL) / 2
        left = round((picture.shape[1] - self.width) / 2)
        self.typeface(self.scale).draw(picture, self.text, left, round(baseline), self.colour)


def fit(
    title: str,
    detail: str,
    width: int,
    height: float,
    typeface: Typeface = Letters,
    smallest: float = SMALLEST_SCALE,
) -> list[Line]:
    """Return both texts wrapped, as large as they fit; the title alone, or nothing, if they would be unreadable.

    Letters below the scale *smallest* are unreadable.
    """
    scale = max(smallest, min(height * 0.13, width * 0.06) / CAPITAL)
    titles: list[Line] = []
    while scale >= smallest:
        above = _wrap(title, scale, _TITLE, typeface, width)
        below = _wrap(detail, max(scale * _DETAIL_SHARE, smallest), _DETAIL, typeface, width)
        if above and below and height_of(above + below) <= height:
            return above + below
        if not titles and height_of(above) <= height:
            titles = above
        scale *= 0.95
    return titles


def _wrap(text: str, scale: float, colour: Colour, typeface: Typeface, width: int) -> list[Line]:
    """Wrap *text* to as few lines of at most *width* pixels as possible, of similar length; [] if a word is wider."""
    lines = best = _break(text, scale, colour, typeface, width)
    while lines and len(lines) == len(best):
        best = lines
        width -= max(1, width // 20)
        lines = _break(text, scale, colour, typeface, width)
    return best


def _break(text: str, scale: float, colour: Colour, typeface: Typeface, width: int) -> list[Line]:
    lines: list[Line] = []
    for word in text.split():
        longer = Line(f"{lines[-1].text} {word}" if lines else word, scale, colour, typeface)
        if lines and longer.width <= width:
            lines[-1] = longer
        else:
            lines.append(Line(word, scale, colour, typeface))
            if lines[-1].width > width:
                return []
    return lines


def height_of(lines: list[Line]) -> float:
    """Return the height of *lines* in pixels."""
    return sum(line.height for line in lines)
