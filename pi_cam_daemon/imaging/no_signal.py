"""Draws the no-signal picture, which viewers see while the camera delivers none.

`python -m pi_cam_daemon.imaging.no_signal CAUSE WIDTH HEIGHT` writes a JPEG of this size in pixels to stdout. CAUSE is
a value of errors.Cause, or `unknown`. The packaged no-signal.jpg was made with `unknown 640 480` and OpenCV 5, whose
letters are finer than those of OpenCV 4.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from pi_cam_daemon.errors import Cause
from pi_cam_daemon.imaging.lettering import Colour, Pixels, fit, height_of

_UNKNOWN = "unknown"

# A title, and a sentence on what happened or what to do. ASCII only: the font of OpenCV 4 has no other letters.
_TEXTS: dict[Cause | None, tuple[str, str]] = {
    None: ("No picture", "The camera gives no picture at the moment. It comes back by itself."),
    Cause.STARTING: ("Camera is starting", "The first picture comes in a few seconds."),
    Cause.MISSING: ("No camera", "No camera was found. Check its cable, or the address it is reached at."),
    Cause.BROKEN: ("Software fault", "The camera's library cannot be loaded. The log says how to repair it."),
    Cause.BUSY: ("Camera is busy", "Another program is using it. The picture comes once that program ends."),
    Cause.PERMISSION: ("No permission", "The camera may not be opened. The log says what is missing."),
    Cause.SETTINGS: ("Settings refused", "The camera cannot do what the configuration asks for. The log names it."),
    Cause.LOST: ("Camera was lost", "It stopped answering, perhaps unplugged. It is being opened again."),
    Cause.CRASHED: ("Camera crashed", "Its program is being started again. The log has the details."),
    Cause.STILL: ("Taking a photo", "A picture of full size is being taken. The live picture goes on in a moment."),
    Cause.STALLED: ("The picture stands still", "The camera sends nothing new. It is being started again."),
    Cause.WEDGED: ("Driver hangs", "The camera cannot be started again. Reboot the Raspberry Pi."),
}

_BACKGROUND: Colour = (34, 29, 26)
_SYMBOL: Colour = (125, 115, 108)
_STRIKE: Colour = (70, 150, 235)

_LONGEST = 65500  # longest side that OpenCV's JPEG writer accepts, in pixels
_MOST_PIXELS = 1 << 24  # 50 MB of memory; the Pi may have 512 MB
_QUALITY = 85


def draw(cause: Cause | None, width: int, height: int) -> Pixels:
    """Return the picture for *cause* (None if it is unknown): height x width x 3 bytes of blue, green and red."""
    picture: Pixels = np.full((height, width, 3), _BACKGROUND, np.uint8)
    lines = fit(*_TEXTS[cause], round(width * 0.88), height * 0.55)
    # the symbol stands above the text, or alone in the middle
    size = min(height, width) * (0.3 if lines else 0.7)
    gap = size * 0.2 if lines else 0.0
    top = (height - size - gap - height_of(lines)) / 2
    _draw_symbol(picture, width / 2, top + size / 2, size, crossed_out=cause is not Cause.STARTING)
    top += size + gap
    for line in lines:
        line.draw(picture, top)
        top += line.height
    return picture


def _draw_symbol(picture: Pixels, x: float, y: float, size: float, crossed_out: bool) -> None:
    """Draw a camera in a square of *size* pixels around (x, y)."""
    stroke = max(1, round(size * 0.05))

    def at(right: float, down: float) -> tuple[int, int]:
        """Return the pixel at this place in the square, which reaches from -0.5 to 0.5."""
        return round(x + right * size), round(y + down * size)

    def line(points: tuple[tuple[float, float], ...], colour: Colour, thickness: int, closed: bool) -> None:
        corners = np.array([at(*point) for point in points], np.int32)
        cv2.polylines(picture, [corners], closed, colour, thickness, cv2.LINE_AA)

    half = ((0.0, -0.36), (0.12, -0.36), (0.2, -0.22), (0.48, -0.22), (0.48, 0.36))
    body = half + tuple((-right, down) for right, down in reversed(half))
    line(body, _SYMBOL, stroke, closed=True)
    cv2.circle(picture, at(0, 0.06), round(size * 0.19), _SYMBOL, stroke, cv2.LINE_AA)
    if crossed_out:
        diagonal = ((-0.42, -0.46), (0.42, 0.46))
        line(diagonal, _BACKGROUND, stroke * 3, closed=False)
        line(diagonal, _STRIKE, stroke, closed=False)


def main(argv: list[str]) -> int:
    """Write the picture for *argv* (cause, width, height) to stdout; 2 and a usage line if an argument is invalid."""
    try:
        word, width, height = argv[0], int(argv[1]), int(argv[2])
        cause = None if word == _UNKNOWN else Cause(word)
        if len(argv) > 3 or min(width, height) < 1 or max(width, height) > _LONGEST or width * height > _MOST_PIXELS:
            raise ValueError
    except (IndexError, ValueError):
        causes = ", ".join((_UNKNOWN, *Cause))
        print(f"usage: no_signal CAUSE WIDTH HEIGHT (cause: {causes}; at most {_MOST_PIXELS} pixels)", file=sys.stderr)
        return 2
    _, jpeg = cv2.imencode(".jpg", draw(cause, width, height), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    sys.stdout.buffer.write(jpeg.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
