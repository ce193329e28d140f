"""Privacy masks: finds the pixels that are masked in a picture of any size, and blackens them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two are behind it
_Edges = tuple[Fraction, Fraction, Fraction, Fraction]  # the same in fractions of the picture

_MOST_SIZES = 20  # of pictures whose boxes are remembered; an upstream may change its size all the time
_BLACK = 0  # of full range, as JPEG has it
_NO_COLOUR = 128


@dataclass(frozen=True)
class Masks:
    """The masked parts of a picture, which *edges* gives in fractions. Not thread-safe."""

    edges: tuple[_Edges, ...]

    @classmethod
    def of(cls, rectangles: Sequence[Sequence[float]]) -> Masks:
        """Return the masks for *rectangles*, each [x, y, width, height] in fractions."""
        # exact, as they are written: a rounded sum may be less than what somebody drew, or a hair more
        exact = [[Fraction(str(side)) for side in rectangle] for rectangle in rectangles]
        end = Fraction(1)
        return cls(tuple((x, y, min(x + width, end), min(y + height, end)) for x, y, width, height in exact))

    def before(self, hflip: bool, vflip: bool, quarter: bool) -> Masks:
        """Return the masks for the picture before it is mirrored, and then turned clockwise if *quarter*."""

        def edges(left: Fraction, top: Fraction, right: Fraction, bottom: Fraction) -> _Edges:
            if quarter:
                left, top, right, bottom = top, 1 - right, bottom, 1 - left
            if hflip:
                left, right = 1 - right, 1 - left
            if vflip:
                top, bottom = 1 - bottom, 1 - top
            return left, top, right, bottom

        return Masks(tuple(edges(*one) for one in self.edges))

    def boxes(self, width: int, height: int, wide: int = 1, high: int = 1) -> list[Box]:
        """Return the masked pixels of a picture of *width* x *height*: every pixel of which a part is masked.

        The boxes are rounded outwards to units of *wide* x *high* pixels, so they may end beyond the picture.
        """
        key = width, height, wide, high
        if key not in self._boxes:
            if len(self._boxes) >= _MOST_SIZES:
                self._boxes.clear()
            across, down = Fraction(width, wide), Fraction(height, high)
            self._boxes[key] = [
                (
                    math.floor(left * across) * wide,
                    math.floor(top * down) * high,
                    math.ceil(right * across) * wide,
                    math.ceil(bottom * down) * high,
                )
                for left, top, right, bottom in self.edges
            ]
        return self._boxes[key]

    def blacken(self, pixels: npt.NDArray[np.uint8], value: int = _BLACK) -> None:
        """Give the masked pixels of *pixels* (height x width, or x 3) this *value*."""
        height, width = pixels.shape[:2]
        for left, top, right, bottom in self.boxes(width, height):
            pixels[top:bottom, left:right] = value

    def blacken_planes(self, luma: npt.NDArray[np.uint8], *colours: npt.NDArray[np.uint8]) -> None:
        """Blacken a picture in planes: *luma*, and two of *colours* with half the size."""
        self.blacken(luma)
        for colour in colours:
            self.blacken(colour, _NO_COLOUR)

    @cached_property
    def _boxes(self) -> dict[tuple[int, int, int, int], list[Box]]:
        return {}
