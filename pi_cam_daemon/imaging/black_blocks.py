"""Blackens the masked blocks of a JPEG while libjpeg-turbo transforms it, without decoding pixels.

A component (luma, or one of two colours) has blocks of 8x8 coefficients. Zeros without the first one, which is the
average, make a block of one colour. docs/decisions/023-masks.md tells more.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

from pi_cam_daemon.imaging.masks import Masks
from pi_cam_daemon.imaging.turbojpeg import Filter, Lossless, Region

_SIDE = 8  # of a block, in pixels
_BLOCK_BYTES = _SIDE * _SIDE * 2
_BLACK = -1024  # average of a black block, before quantization
_MOST_LAYOUTS = 20
_SOF = (0xC0, 0xC1, 0xC2)
_DQT, _SOS, _ADOBE, _FILL = 0xDB, 0xDA, 0xEE, 0xFF
_RGB = b"RGB"

_Component = tuple[int, int, int]  # horizontal and vertical sampling factor, quantum of the average
_Layout = tuple[int, int, tuple[_Component, ...]]  # width, height
_Runs = dict[int, list[tuple[int, int]]]  # by row of blocks: the first block and how many


@dataclass(frozen=True)
class _Plan:
    """The blocks to blacken in each component: its *runs*, and a row of black blocks (*black*)."""

    runs: list[_Runs]
    black: list[bytes]


class BlackBlocks:
    """Turns JPEGs by the TJXOP *op*, and blackens what *masks* touch in the result.

    *transposed* says whether *op* swaps width and height. OSError without libjpeg-turbo. Not thread-safe.
    """

    def __init__(self, op: int, masks: Masks, transposed: bool) -> None:
        self._transform = Lossless(op, Filter(self._blacken))
        self._masks = masks
        self._transposed = transposed
        self._plans: dict[_Layout, _Plan | None] = {}
        self._plan: _Plan | None = None
        self._left = 0  # rows that are still to be blackened

    def __call__(self, jpeg: bytes) -> bytes | None:
        """Return *jpeg*, a whole picture, turned and masked; None if that is not possible without decoding it."""
        self._plan = self._plan_for(_layout(jpeg))
        if self._plan is None:
            return None
        self._left = sum(map(len, self._plan.runs))
        result = self._transform(jpeg)
        # a failure of the filter may be hidden by a warning about something else
        return None if self._left else result

    def _plan_for(self, layout: _Layout | None) -> _Plan | None:
        if layout is None:
            return None
        if layout not in self._plans:
            if len(self._plans) >= _MOST_LAYOUTS:
                self._plans.clear()
            self._plans[layout] = self._planned(*layout)
        return self._plans[layout]

    def _planned(self, width: int, height: int, components: tuple[_Component, ...]) -> _Plan | None:
        if self._transposed:
            width, height = height, width
            components = tuple((down, across, quantum) for across, down, quantum in components)
        most_across, most_down = max(one[0] for one in components), max(one[1] for one in components)
        if any(most_across % across or most_down % down for across, down, _ in components):
            return None
        boxes = self._masks.boxes(width, height, _SIDE * most_across, _SIDE * most_down)
        plan = _Plan([], [])
        for number, (across, down, quantum) in enumerate(components):
            wide, high = _SIDE * most_across // across, _SIDE * most_down // down
            runs: _Runs = {}
            for left, top, right, bottom in boxes:
                for row in range(top // high, bottom // high):
                    runs.setdefault(row, []).append((left // wide, (right - left) // wide))
            average = 0 if number else _BLACK // quantum  # of 8 bits: far below black a decoder may wrap around
            block = average.to_bytes(2, sys.byteorder, signed=True).ljust(_BLOCK_BYTES, b"\0")
            plan.runs.append(runs)
            plan.black.append(block * max((count for row in runs.values() for _, count in row), default=0))
        return plan

    def _blacken(
        self, coefficients: int, row: Region, _plane: Region, component: int, _number: int, _transform: object
    ) -> int:
        """Blacken a *row* of blocks of a *component*; return -1 if that fails, which ends the transform."""
        try:
            assert self._plan
            if runs := self._plan.runs[component].get(row.y // _SIDE):
                for first, count in runs:
                    count = min(count, row.width // _SIDE - first)
                    if count > 0:
                        at = coefficients + first * _BLOCK_BYTES
                        ctypes.memmove(at, self._plan.black[component], count * _BLOCK_BYTES)
                self._left -= 1
        except Exception:  # noqa: BLE001 - C calls this, and would go on
            return -1
        return 0


def _layout(jpeg: bytes) -> _Layout | None:
    """Return the layout of *jpeg*, whose header `jpeg.parse` has accepted; None if it is unusual.

    Unusual ones are colours that are not luma and two differences, and quanta of 16 bits.
    """
    quanta: dict[int, int] = {}
    size, found = (0, 0), b""
    at = 2
    while at + 4 <= len(jpeg):
        marker = jpeg[at + 1]
        if marker == _SOS:
            break
        if marker == _FILL:
            at += 1
            continue
        end = at + 2 + (jpeg[at + 2] << 8 | jpeg[at + 3])
        if marker == _DQT:
            table = at + 4
            while table + 65 <= end:
                if jpeg[table] > 3:  # 16 bits, or broken
                    return None
                quanta[jpeg[table]] = jpeg[table + 1]
                table += 65
        elif marker in _SOF:
            size = jpeg[at + 7] << 8 | jpeg[at + 8], jpeg[at + 5] << 8 | jpeg[at + 6]
            found = jpeg[at + 10 : end]
        elif marker == _ADOBE and jpeg.startswith(b"Adobe", at + 4) and jpeg[end - 1] != 1:
            return None
        at = end
    names, factors, tables = found[::3], found[1::3], found[2::3]
    components = tuple((one >> 4, one & 15, quanta.get(table, 0)) for one, table in zip(factors, tables, strict=False))
    if len(found) not in (3, 9) or names == _RGB or any(0 in one for one in components):
        return None
    if len(components) == 1:  # its factors mean nothing
        components = ((1, 1, components[0][2]),)
    return *size, components
