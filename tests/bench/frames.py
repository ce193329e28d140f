"""Draw JPEGs of a given size in pixels and bytes, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

_COUNT, _QUALITY = 30, 75
# of the largest pictures, which take a second each to draw
_FEW, _HIGH_QUALITY = 4, 95
_LARGE_BYTES = 1_000_000
# the bytes hang on the noise; each halving of its range is one more bit
_HALVINGS = 12


def _scene(width: int, height: int, number: int, noise: float) -> npt.NDArray[np.uint8]:
    """Draw a disc on coloured waves under *noise*, a standard deviation out of 255."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = (
        128 + 90 * np.sin((x + 9 * number) / 97),
        128 + 80 * np.cos((y - 5 * number) / 71),
        128 + 60 * np.sin((x + y + 7 * number) / 151),
    )
    pixels = np.stack(waves, axis=-1)
    pixels[(x - width * number // _COUNT) ** 2 + (y - height // 2) ** 2 < (height // 6) ** 2] = (40, 60, 230)
    pixels += np.random.default_rng(number).normal(0, noise, (height, width, 1)).astype(np.float32)
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)


def _jpeg(width: int, height: int, number: int, noise: float, quality: int) -> bytes:
    encoded, data = cv2.imencode(".jpg", _scene(width, height, number, noise), (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert encoded
    return data.tobytes()


def folder(cache: Path, width: int, height: int, length: int) -> Path:
    """Return a folder with JPEGs of about *length* bytes each; they are drawn only once."""
    there = cache / f"frames-{width}x{height}-{length}"
    if there.exists():
        return there
    count, quality = (_FEW, _HIGH_QUALITY) if length >= _LARGE_BYTES else (_COUNT, _QUALITY)
    low, high = 0.0, 60.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_jpeg(width, height, 7, middle, quality)) > length else (middle, high)
    new = there.with_suffix(".new")
    new.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (new / f"{number:03}.jpg").write_bytes(_jpeg(width, height, number, low, quality))
    return new.rename(there)
