"""Draw the frames of the camera VirtualFrames into the given folder: a blue square moves over a changing background."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for i in range(8):
    picture = Image.new("RGB", (640, 480), (30 * i, 255 - 30 * i, 128))
    ImageDraw.Draw(picture).rectangle((40 + 60 * i, 200, 90 + 60 * i, 260), fill=(0, 0, 255))
    picture.save(folder / f"{i}.jpg", quality=92)
