"""Draws the no-signal picture, which viewers see while the camera delivers none.

`python -m pi_cam_daemon.imaging.no_signal CAUSE LANGUAGE WIDTH HEIGHT` writes a JPEG of this size in pixels to stdout.
CAUSE is a value of errors.Cause, or `unknown`. LANGUAGE is `en` or `ko`; if no font has Korean letters, the picture is
English and the exit status EX_UNAVAILABLE. The packaged no-signal.jpg was made with `unknown en 640 480` and OpenCV 5,
whose letters are finer than those of OpenCV 4.
"""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np

from pi_cam_daemon.errors import Cause
from pi_cam_daemon.imaging import hangul
from pi_cam_daemon.imaging.lettering import Colour, Pixels, Typeface, fit, height_of

_UNKNOWN = "unknown"

# A title, and a sentence on what happened or what to do. ASCII only: the font of OpenCV 4 has no other letters.
_ENGLISH: dict[Cause | None, tuple[str, str]] = {
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
_KOREAN: dict[Cause | None, tuple[str, str]] = {
    None: ("영상 없음", "지금은 카메라에서 영상이 오지 않습니다. 곧 저절로 다시 나옵니다."),
    Cause.STARTING: ("카메라를 켜는 중", "몇 초 뒤에 첫 화면이 나옵니다."),
    Cause.MISSING: ("카메라 없음", "카메라를 찾지 못했습니다. 케이블이나 접속 주소를 확인하세요."),
    Cause.BROKEN: ("소프트웨어 오류", "카메라 라이브러리를 불러올 수 없습니다. 고치는 방법은 로그에 있습니다."),
    Cause.BUSY: ("카메라 사용 중", "다른 프로그램이 카메라를 쓰고 있습니다. 그 프로그램이 끝나면 영상이 나옵니다."),
    Cause.PERMISSION: ("권한 없음", "카메라를 열 권한이 없습니다. 무엇이 빠졌는지는 로그에 있습니다."),
    Cause.SETTINGS: ("설정 거부됨", "카메라가 할 수 없는 설정입니다. 어떤 설정인지는 로그에 있습니다."),
    Cause.LOST: ("카메라 연결 끊김", "카메라가 응답하지 않습니다. 케이블이 빠졌을 수 있습니다. 다시 여는 중입니다."),
    Cause.CRASHED: ("카메라 프로그램 오류", "프로그램을 다시 시작하는 중입니다. 자세한 내용은 로그에 있습니다."),
    Cause.STILL: ("사진 찍는 중", "최대 해상도로 찍고 있습니다. 곧 실시간 영상이 이어집니다."),
    Cause.STALLED: ("화면 멈춤", "카메라가 새 화면을 보내지 않습니다. 다시 시작하는 중입니다."),
    Cause.WEDGED: ("드라이버 응답 없음", "카메라를 다시 시작할 수 없습니다. 라즈베리 파이를 재부팅하세요."),
}
_LANGUAGES = ("en", "ko")

_BACKGROUND: Colour = (34, 29, 26)
_SYMBOL: Colour = (125, 115, 108)
_STRIKE: Colour = (70, 150, 235)

_LONGEST = 65500  # longest side that OpenCV's JPEG writer accepts, in pixels
_MOST_PIXELS = 1 << 24  # 50 MB of memory; the Pi may have 512 MB
_QUALITY = 85


def draw(cause: Cause | None, width: int, height: int, korean: Typeface | None = None) -> Pixels:
    """Return the picture for *cause* (None if it is unknown): height x width x 3 bytes of blue, green and red.

    Its text is Korean in the letters *korean*, or else English. OSError or ValueError if the font is broken.
    """
    picture: Pixels = np.full((height, width, 3), _BACKGROUND, np.uint8)
    room = round(width * 0.88), height * 0.55
    lines = fit(*_KOREAN[cause], *room, korean, hangul.SMALLEST_SCALE) if korean else fit(*_ENGLISH[cause], *room)
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


def _korean(cause: Cause | None, width: int, height: int) -> Pixels | None:
    """Return the Korean picture; None if there are no letters for it."""
    try:
        typeface = hangul.typeface()
        return draw(cause, width, height, typeface) if typeface else None
    except (OSError, ValueError):  # the font has a broken letter
        return None


def main(argv: list[str]) -> int:
    """Write the picture for *argv* (cause, language, width, height) to stdout, and return the exit status.

    It is EX_UNAVAILABLE for an English picture in place of a Korean one, and 2 with a usage line for a wrong argument.
    """
    try:
        word, language, width, height = argv[0], argv[1], int(argv[2]), int(argv[3])
        cause = None if word == _UNKNOWN else Cause(word)
        if len(argv) > 4 or language not in _LANGUAGES:
            raise ValueError
        if min(width, height) < 1 or max(width, height) > _LONGEST or width * height > _MOST_PIXELS:
            raise ValueError
    except (IndexError, ValueError):
        causes, languages = ", ".join((_UNKNOWN, *Cause)), " or ".join(_LANGUAGES)
        accepted = f"cause: {causes}; language: {languages}; at most {_MOST_PIXELS} pixels"
        print(f"usage: no_signal CAUSE LANGUAGE WIDTH HEIGHT ({accepted})", file=sys.stderr)
        return 2
    picture = _korean(cause, width, height) if language == "ko" else None
    _, jpeg = cv2.imencode(
        ".jpg", draw(cause, width, height) if picture is None else picture, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY)
    )
    sys.stdout.buffer.write(jpeg.tobytes())
    return os.EX_UNAVAILABLE if language == "ko" and picture is None else os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
