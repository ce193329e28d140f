"""Watch as OpenCV's programs do: `opencv.py URL FOLDER` writes each picture as a PNG into FOLDER."""

import sys
from itertools import count

import cv2

address, folder = sys.argv[1:]
capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG)
for number in count(1):
    read, picture = capture.read()
    if not read:
        sys.exit("OpenCV reads no further picture")
    cv2.imwrite(f"{folder}/{number:06}.png", picture)
