"""The scene that the cameras of the rig show: upright, its top left is bright and its top right is half as bright.

A light square moves through the lower half, so that no frame equals the one before; all else has the grain of a photo.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_SIDE = 1024
LEFT, RIGHT, BELOW = 235, 120, 60
_STEPS = 24


@functools.cache
def _planes() -> tuple[Pixels, Pixels, Pixels]:
    """Return luma and both chromas of all that the sensor sees, _SIDE pixels wide and high."""
    luma = np.full((_SIDE, _SIDE), BELOW, np.int16)
    luma[: _SIDE // 2, : _SIDE // 2] = LEFT
    luma[: _SIDE // 2, _SIDE // 2 :] = RIGHT
    grain = np.random.default_rng(1).integers(-12, 13, luma.shape)
    grey, red = np.full(luma.shape, 128, np.uint8), np.full(luma.shape, 128, np.uint8)
    red[_SIDE // 2 :, _SIDE // 2 :] = 170
    return (luma + grain).clip(0, 255).astype(np.uint8), grey, red


@dataclass(frozen=True)
class View:
    """A picture that is taken: its size, the part of the sensor in it as fractions, and the sensor's flips."""

    width: int
    height: int
    left: float
    top: float
    wide: float
    high: float
    hflip: bool
    vflip: bool

    def _sampled(self, plane: Pixels, width: int, height: int) -> Pixels:
        columns = ((self.left + (np.arange(width) + 0.5) / width * self.wide) * _SIDE).astype(int).clip(0, _SIDE - 1)
        rows = ((self.top + (np.arange(height) + 0.5) / height * self.high) * _SIDE).astype(int).clip(0, _SIDE - 1)
        return plane[rows[:: -1 if self.vflip else 1]][:, columns[:: -1 if self.hflip else 1]]


@functools.lru_cache(maxsize=6)
def _still(view: View, chroma: bool) -> list[Pixels]:
    luma, blue, red = _planes()
    sampled = [view._sampled(luma, view.width, view.height)]
    if chroma:
        sampled += [view._sampled(plane, view.width // 2, view.height // 2) for plane in (blue, red)]
    return sampled


def draw(memory: Pixels, view: View, stride: int, frame: int) -> None:
    """Write *view* as YUV420 with this *stride* into *memory*; *frame* says where the square is."""
    luma, blue, red = _still(view, chroma=True)
    width, height = view.width, view.height
    first, second = stride * height, stride // 2 * (height // 2)
    picture = memory[:first].reshape(height, stride)
    picture[:, :width] = luma
    for plane, at in ((blue, first), (red, first + second)):
        memory[at : at + second].reshape(height // 2, stride // 2)[:, : width // 2] = plane
    side = max(2, min(width, height) // 8)
    x = frame % _STEPS * (width - side) // (_STEPS - 1)
    y = height * 3 // 4 - side // 2
    if view.hflip:
        x = width - side - x
    if view.vflip:
        y = height - side - y
    picture[y : y + side, x : x + side] = 250
