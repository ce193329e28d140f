import importlib.resources
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pi_cam_daemon.errors import Cause
from pi_cam_daemon.imaging import hangul, jpeg, lettering, no_signal

CAUSES = [None, *Cause]
SIZES = [(64, 48), (160, 120), (640, 480), (1280, 720), (1920, 1080), (480, 640), (640, 120), (333, 251)]


def decoded(data: bytes) -> npt.NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.astype(np.uint8)


def margins(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


@pytest.mark.parametrize("size", [*SIZES, (4096, 3072)], ids=str)
def test_every_cause_has_a_readable_card_at_every_size(size: tuple[int, int]) -> None:
    width, height = size
    for cause in CAUSES if width < 4096 else [Cause.SETTINGS]:
        pixels = no_signal.draw(cause, width, height)
        assert pixels.shape == (height, width, 3)
        assert pixels.min(axis=2).max() > 200, f"there is no title for {cause}"
        ground = pixels[0, 0]
        assert (margins(pixels) == ground).all(), f"something is cut off for {cause}"
        left_out = (pixels == ground).all(axis=2).mean()
        assert left_out > 0.5, f"the card is not calm for {cause}"


@pytest.mark.parametrize("size", [(16, 16), (32, 24), (48, 16), (1, 1)], ids=str)
def test_a_card_too_small_for_text_has_only_the_symbol(size: tuple[int, int]) -> None:
    width, height = size
    pixels = no_signal.draw(Cause.MISSING, width, height)
    assert pixels.shape == (height, width, 3)
    assert pixels.min(axis=2).max() < 200


def test_each_cause_has_a_different_card() -> None:
    cards = {no_signal.draw(cause, 640, 480).tobytes() for cause in CAUSES}
    assert len(cards) == len(CAUSES)


def test_a_starting_camera_is_not_crossed_out() -> None:
    def orange(cause: Cause) -> int:
        blue, _, red = np.moveaxis(no_signal.draw(cause, 640, 480).astype(int), 2, 0)
        return int((red - blue > 100).sum())

    assert orange(Cause.MISSING) > 500
    assert orange(Cause.STARTING) == 0


@pytest.mark.parametrize(
    ("cause", "width", "height"), [("missing", 640, 480), ("wedged", 1281, 719), ("unknown", 16, 16)]
)
def test_one_jpeg_of_exactly_this_size_is_written(
    cause: str, width: int, height: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert no_signal.main([cause, "en", str(width), str(height)]) == 0
    data, errors = capfdbinary.readouterr()
    assert errors == b""
    jpeg.check(data)
    assert jpeg.size(data) == (width, height)
    assert decoded(data).shape == (height, width, 3)
    assert b"Exif" not in data


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("missing",),
        ("missing", "en", "640"),
        ("missing", "en", "640", "480", "1"),
        ("hungry", "en", "640", "480"),
        ("missing", "auto", "640", "480"),
        ("missing", "en", "640", "tall"),
        ("missing", "en", "0", "480"),
        ("missing", "en", "640", "-1"),
        ("missing", "en", "1e3", "480"),
        ("missing", "en", "65535", "65535"),
        ("missing", "en", "65535", "16"),
    ],
    ids=" ".join,
)
def test_an_undrawable_card_ends_with_one_line_and_status_2(
    argv: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert no_signal.main([*argv]) == 2
    out, errors = capfd.readouterr()
    assert out == ""
    assert len(errors.splitlines()) == 1


def test_the_packaged_card_is_640x480_and_readable() -> None:
    data = importlib.resources.files("pi_cam_daemon.core").joinpath("no-signal.jpg").read_bytes()
    jpeg.check(data)
    assert jpeg.size(data) == (640, 480)
    assert b"Exif" not in data
    pixels = decoded(data).astype(int)
    assert pixels.min(axis=2).max() > 200, "there is no title"
    assert np.abs(margins(pixels) - no_signal.draw(None, 640, 480)[0, 0]).max() < 8, (
        "its ground is not that of the others"
    )


@pytest.fixture
def korean() -> lettering.Typeface:
    found = hangul.typeface()
    if found is None:
        pytest.skip("no font here has Korean letters")
    return found


@pytest.mark.parametrize("size", [(64, 48), (160, 120), (480, 640)], ids=str)
def test_every_cause_has_a_korean_card(size: tuple[int, int], korean: lettering.Typeface) -> None:
    for cause in CAUSES:
        pixels = no_signal.draw(cause, *size, korean)
        assert (margins(pixels) == pixels[0, 0]).all(), f"something is cut off for {cause}"
        if min(size) > 64:
            assert pixels.min(axis=2).max() > 200, f"there is no title for {cause}"
            assert (pixels != no_signal.draw(cause, *size)).any(), f"it is English for {cause}"


def test_korean_letters_are_not_drawn_too_small_to_read(korean: lettering.Typeface) -> None:
    english, in_korean = (no_signal.draw(Cause.LOST, 64, 48, letters) for letters in (None, korean))
    assert english.min(axis=2).max() > 200
    assert in_korean.min(axis=2).max() < 200


BROKEN = {
    "empty.ttf": b"",
    "text.ttf": b"no font\n" * 1000,
    "NanumGothic.ttf": b"\0\1\0\0" + b"\xff" * 5000,
    "collection.ttc": b"ttcf" + b"\xff" * 100,
}


def without_built_in_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw as OpenCV 4 does, whose own letters are ASCII only."""
    draw = lettering.Letters.draw

    def ascii_only(self: lettering.Letters, pixels: Any, text: str, *rest: Any) -> None:
        draw(self, pixels, text.encode("ascii", "replace").decode(), *rest)

    monkeypatch.setattr(lettering.Letters, "draw", ascii_only)


def test_broken_font_files_cost_no_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    without_built_in_letters(monkeypatch)
    for name, content in BROKEN.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.ttf").mkdir()
    (tmp_path / "nowhere.otf").symlink_to("nowhere")
    assert hangul.typeface([tmp_path, tmp_path / "none"]) is None
    monkeypatch.setattr(hangul, "typeface", lambda: None)
    assert no_signal.main(["missing", "ko", "320", "240"]) == os.EX_UNAVAILABLE
    data, errors = capfdbinary.readouterr()
    assert errors == b""
    assert no_signal.main(["missing", "en", "320", "240"]) == 0
    assert data == capfdbinary.readouterr().out


def test_a_font_that_breaks_at_some_letter_costs_no_card(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def broken(_: float) -> lettering.Face:
        raise OSError("invalid outline")

    monkeypatch.setattr(hangul, "typeface", lambda: broken)
    assert no_signal.main(["missing", "ko", "320", "240"]) == os.EX_UNAVAILABLE
    jpeg.check(capfdbinary.readouterr().out)


def test_a_font_without_korean_letters_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_built_in_letters(monkeypatch)
    latin = next(Path("/usr/share/fonts").rglob("DejaVuSans.ttf"), None)
    korean = next(Path("/usr/share/fonts").rglob("NotoSansCJK-Regular.ttc"), None)
    if not latin or not korean:
        pytest.skip("the fonts for the comparison are not installed")
    (tmp_path / "NanumGothic.ttf").symlink_to(latin)
    assert hangul.typeface([tmp_path]) is None
    (tmp_path / "unknown.ttc").symlink_to(korean)
    found: Any = hangul.typeface([tmp_path])
    assert found(1.0).file == tmp_path / "unknown.ttc"
