"""Measures and draws lines of text with OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]  # blue, green, red

SMALLEST_SCALE = 0.25  # capitals of 5 pixels; smaller ones cannot be read


@dataclass(frozen=True)
class Letters:
    """A font in one size. *scale* is OpenCV's; *weight* is the thickness of the strokes at scale 1, in pixels."""

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
