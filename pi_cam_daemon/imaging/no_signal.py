"""Draws the picture that viewers see where the camera gives none.

`python -m pi_cam_daemon.imaging.no_signal CAUSE WIDTH HEIGHT` writes one JPEG of exactly this size to stdout.
CAUSE is a word of errors.Cause, or `unknown`. The packaged no-signal.jpg is the output of `unknown 640 480`, made with
OpenCV 5, whose letters are finer than those of OpenCV 4.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import cv2
import numpy as np

from pi_cam_daemon.errors import Cause
from pi_cam_daemon.imaging.lettering import SMALLEST_SCALE, Colour, Letters, Pixels

_UNKNOWN = "unknown"

# a title, and one line that says what it means or what to do; ASCII, for the letters of OpenCV 4 have no more
_TEXTS: dict[Cause | None, tuple[str, str]] = {
    None: ("No picture", "The camera gives no picture at the moment. It comes back by itself."),
    Cause.STARTING: ("Camera is starting", "The first picture comes in a few seconds."),
    Cause.MISSING: ("No camera", "No camera was found. Check its cable, or the address it is reached at."),
    Cause.BUSY: ("Camera is busy", "Another program is using it. The picture comes once that program ends."),
    Cause.PERMISSION: ("No permission", "The camera may not be opened. The log says what is missing."),
    Cause.SETTINGS: ("Settings refused", "The camera cannot do what the configuration asks for. The log names it."),
    Cause.LOST: ("Camera was lost", "It stopped answering, perhaps unplugged. It is being opened again."),
    Cause.CRASHED: ("Camera crashed", "Its program is being started again. The log has the details."),
    Cause.STILL: ("Taking a photo", "A picture of full size is being taken. The live picture goes on in a moment."),
    Cause.STALLED: ("The picture stands still", "The camera sends nothing new. It is being started again."),
    Cause.WEDGED: ("Driver hangs", "The camera cannot be started again. Reboot the Raspberry Pi."),
}

_GROUND: Colour = (34, 29, 26)
_TITLE: Colour = (235, 232, 230)
_DETAIL: Colour = (165, 158, 152)
_SYMBOL: Colour = (125, 115, 108)
_STRIKE: Colour = (70, 150, 235)

_CAPITAL = 22  # pixels, the height of a capital of the font at scale 1
_LINE = 1.8  # from one line to the next, in capitals
_DETAIL_SHARE = 0.65  # of the title's letters

_LONGEST = 65500  # pixels a side that OpenCV's JPEG writer takes
_MOST_PIXELS = 1 << 24  # 50 MB of memory: a header may claim any size, and the Pi may have 512 MB
_QUALITY = 85


def draw(cause: Cause | None, width: int, height: int) -> Pixels:
    """The card for *cause* (None: an unknown one), as height x width x 3 bytes of blue, green and red."""
    card: Pixels = np.full((height, width, 3), _GROUND, np.uint8)
    lines = _fit(*_TEXTS[cause], round(width * 0.88), height * 0.55)
    # the symbol stands above the text, or alone in the middle
    size = min(height, width) * (0.3 if lines else 0.7)
    gap = size * 0.2 if lines else 0.0
    top = (height - size - gap - _height(lines)) / 2
    _draw_symbol(card, width / 2, top + size / 2, size, crossed_out=cause is not Cause.STARTING)
    top += size + gap
    for line in lines:
        line.draw(card, top)
        top += line.height
    return card


@dataclass(frozen=True)
class _Line:
    """One line of text, to be centred."""

    text: str
    scale: float
    colour: Colour

    @property
    def width(self) -> int:
        return Letters(self.scale).measure(self.text)[0]

    @property
    def height(self) -> float:
        return self.scale * _CAPITAL * _LINE

    def draw(self, card: Pixels, top: float) -> None:
        baseline = top + (self.height + self.scale * _CAPITAL) / 2
        left = round((card.shape[1] - self.width) / 2)
        Letters(self.scale).draw(card, self.text, left, round(baseline), self.colour)


def _fit(title: str, detail: str, width: int, height: float) -> list[_Line]:
    """Both texts, wrapped, as large as they fit; without the detail, or nothing, where they would be unreadable."""
    scale = max(SMALLEST_SCALE, min(height * 0.13, width * 0.06) / _CAPITAL)
    titles: list[_Line] = []
    while scale >= SMALLEST_SCALE:
        above = _wrap(title, scale, _TITLE, width)
        below = _wrap(detail, max(scale * _DETAIL_SHARE, SMALLEST_SCALE), _DETAIL, width)
        if above and below and _height(above + below) <= height:
            return above + below
        if not titles and _height(above) <= height:
            titles = above
        scale *= 0.95
    return titles


def _wrap(text: str, scale: float, colour: Colour, width: int) -> list[_Line]:
    """*text* in as few lines of at most *width* pixels as possible, of similar length; none if a word is wider."""
    lines = best = _break(text, scale, colour, width)
    while lines and len(lines) == len(best):
        best = lines
        width -= max(1, width // 20)
        lines = _break(text, scale, colour, width)
    return best


def _break(text: str, scale: float, colour: Colour, width: int) -> list[_Line]:
    lines: list[_Line] = []
    for word in text.split():
        longer = _Line(f"{lines[-1].text} {word}" if lines else word, scale, colour)
        if lines and longer.width <= width:
            lines[-1] = longer
        else:
            lines.append(_Line(word, scale, colour))
            if lines[-1].width > width:
                return []
    return lines


def _height(lines: list[_Line]) -> float:
    return sum(line.height for line in lines)


def _draw_symbol(card: Pixels, x: float, y: float, size: float, crossed_out: bool) -> None:
    """A camera in a square of *size* pixels around (x, y)."""
    stroke = max(1, round(size * 0.05))

    def at(right: float, down: float) -> tuple[int, int]:
        """In pixels; the square reaches from -0.5 to 0.5."""
        return round(x + right * size), round(y + down * size)

    def line(points: tuple[tuple[float, float], ...], colour: Colour, thickness: int, closed: bool) -> None:
        corners = np.array([at(*point) for point in points], np.int32)
        cv2.polylines(card, [corners], closed, colour, thickness, cv2.LINE_AA)

    half = ((0.0, -0.36), (0.12, -0.36), (0.2, -0.22), (0.48, -0.22), (0.48, 0.36))
    body = half + tuple((-right, down) for right, down in reversed(half))
    line(body, _SYMBOL, stroke, closed=True)
    cv2.circle(card, at(0, 0.06), round(size * 0.19), _SYMBOL, stroke, cv2.LINE_AA)
    if crossed_out:
        diagonal = ((-0.42, -0.46), (0.42, 0.46))
        line(diagonal, _GROUND, stroke * 3, closed=False)
        line(diagonal, _STRIKE, stroke, closed=False)


def main(argv: list[str]) -> int:
    """Draw what *argv* (cause, width, height) asks for; 2 and one line on stderr if it asks for what cannot be."""
    try:
        word, width, height = argv[0], int(argv[1]), int(argv[2])
        cause = None if word == _UNKNOWN else Cause(word)
        if len(argv) > 3 or min(width, height) < 1 or max(width, height) > _LONGEST or width * height > _MOST_PIXELS:
            raise ValueError
    except (IndexError, ValueError):
        causes = ", ".join((_UNKNOWN, *Cause))
        print(f"usage: card CAUSE WIDTH HEIGHT (cause: {causes}; at most {_MOST_PIXELS} pixels)", file=sys.stderr)
        return 2
    _, jpeg = cv2.imencode(".jpg", draw(cause, width, height), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    sys.stdout.buffer.write(jpeg.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
