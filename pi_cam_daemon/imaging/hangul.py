"""Draws Korean letters.

OpenCV 5 brings them. OpenCV 4 has ASCII only: then Pillow draws them, which comes with picamera2, with a font that is
installed. Raspberry Pi OS Lite has none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pi_cam_daemon.imaging.lettering import CAPITAL, Face, Letters, Pixels, Typeface

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

FOLDERS = (Path("/usr/local/share/fonts"), Path("/usr/share/fonts"))
# how the names of plain fonts begin, the best first: those of fonts-nanum, fonts-noto-cjk and fonts-unfonts-core
_PREFERRED = ("NanumBarunGothic.", "NanumGothic.", "NotoSansCJK-Regular", "NotoSansKR", "NotoSansCJK", "UnDotum.")
_SUFFIXES = (".ttf", ".otf", ".ttc")
_EM = 1.38  # size of a font, in heights of a capital
_SAMPLE = "한글"
SMALLEST_SCALE = 0.36  # syllables of 11 pixels; smaller ones cannot be read


def typeface(folders: Sequence[Path] = FOLDERS) -> Typeface | None:
    """Return letters that have Hangul, with a font below *folders* if need be; None if there are none."""
    if _has_hangul(Letters):
        return Letters
    for file in _fonts(folders):
        found = functools.partial(FontLetters, file=file)
        try:
            if _has_hangul(found):
                return found
        except ImportError:  # of Pillow, or of its part for fonts
            return None
        except (OSError, ValueError):  # the file is broken
            continue
    return None


def _has_hangul(letters: Typeface) -> bool:
    """Return whether the two letters of the sample differ; a font without Hangul has one sign for both, or none."""
    pictures = []
    for letter in _SAMPLE:
        picture: Pixels = np.zeros((60, 60), np.uint8)
        letters(1.0).draw(picture, letter, 5, 45, (255,))
        pictures.append(picture)
    return bool((pictures[0] != pictures[1]).any())


def _fonts(folders: Sequence[Path]) -> Iterator[Path]:
    """Return the font files below *folders*, the preferred ones first."""

    def rank(file: Path) -> tuple[int, str]:
        ranks = (rank for rank, begin in enumerate(_PREFERRED) if file.name.startswith(begin))
        return next(ranks, len(_PREFERRED)), str(file)

    files = (file for folder in folders for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)
    yield from sorted(files, key=rank)


@functools.cache
def _font(file: Path, pixels: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(file), pixels, layout_engine=ImageFont.Layout.BASIC)


@dataclass(frozen=True)
class FontLetters(Face):
    """The letters of the font in *file*, as large as those of OpenCV at *scale*."""

    scale: float
    file: Path

    @property
    def _font(self) -> FreeTypeFont:
        return _font(self.file, max(1, round(self.scale * CAPITAL * _EM)))

    def measure(self, text: str) -> tuple[int, int, int]:
        left, top, right, bottom = self._font.getbbox(text, anchor="ls")
        return round(right - min(0, left)), round(-top), round(bottom)

    def draw(self, pixels: Pixels, text: str, left: int, baseline: int, colour: tuple[int, ...]) -> None:
        from PIL import Image, ImageDraw

        height, width = pixels.shape[:2]
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).text((left, baseline), text, 255, self._font, anchor="ls")
        share = np.asarray(mask, np.float32)[..., np.newaxis] / 255
        mixed = pixels.reshape(height, width, -1) * (1 - share) + np.array(colour, np.float32) * share
        pixels[:] = np.rint(mixed).astype(np.uint8).reshape(pixels.shape)
