"""Run OctoPrint's plugin classicwebcam, which takes a picture for a timelapse five times a second.

octoprint.py BASEDIR FOLDER: BASEDIR has OctoPrint's config.yaml. Each picture becomes a file in FOLDER; each message of
OctoPrint becomes a line of standard output.
"""

import logging
import sys
import time
from itertools import count
from pathlib import Path

import requests
from octoprint import plugin
from octoprint.plugins import classicwebcam
from octoprint.settings import settings

basedir, folder = sys.argv[1:]
webcam = classicwebcam.__plugin_implementation__
webcam._logger = logging.getLogger("classicwebcam")
webcam._settings = plugin.plugin_settings_for_settings_plugin(
    "classicwebcam", webcam, settings=settings(init=True, basedir=basedir)
)
for number in count(1):
    try:
        picture = b"".join(webcam.take_webcam_snapshot("classic"))
        new = Path(folder, "new")
        new.write_bytes(picture)
        new.rename(Path(folder, f"{number:06}.jpg"))
    except requests.RequestException as error:
        print(error, flush=True)
    time.sleep(0.2)
