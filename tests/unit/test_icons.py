"""The PNGs of the page's icon are drawings of icon.svg.

After a change of it, `draw(name).quantize(32).save(WEB / name, optimize=True)` makes each anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageDraw

import pi_cam_daemon.server

WEB = Path(pi_cam_daemon.server.__file__).with_name("web")
SIZES = {"icon-192.png": 192, "icon-512.png": 512, "apple-touch-icon.png": 180}
CIRCLE = re.compile(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)" fill="(#\w+)"/>')
SMOOTH = 8  # points for each pixel, on a side


def draw(name: str) -> Image.Image:
    """Return icon.svg as the PNG *name*: its circles on a square in the colour of the largest, without a rim."""
    circles = CIRCLE.findall((WEB / "icon.svg").read_text())
    assert len(circles) == 4
    scale = SIZES[name] * SMOOTH / 32
    image = Image.new("RGB", (SIZES[name] * SMOOTH,) * 2, circles[0][3])
    for *numbers, colour in circles:
        x, y, r = (float(number) * scale for number in numbers)
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=colour)
    return image.resize((SIZES[name],) * 2, Image.Resampling.LANCZOS)


@pytest.mark.parametrize("name", SIZES)
def test_a_png_shows_the_icon_and_is_small(name: str) -> None:
    found, drawn = Image.open(WEB / name).convert("RGB"), draw(name)
    assert found.size == drawn.size == (SIZES[name],) * 2
    assert ImageChops.difference(found, drawn).convert("L").getextrema()[1] < 96, "more than the edges differ"
    for x, y in ((0.05, 0.05), (0.5, 0.75), (0.5, 0.5), (0.39, 0.36)):
        point = int(x * SIZES[name]), int(y * SIZES[name])
        assert found.getpixel(point) == drawn.getpixel(point)
    assert (WEB / name).stat().st_size < 8000


def test_the_manifest_names_icons_of_their_size() -> None:
    for icon in json.loads((WEB / "manifest.webmanifest").read_text())["icons"]:
        size = SIZES[icon["src"]]
        assert icon["sizes"] == f"{size}x{size}"
