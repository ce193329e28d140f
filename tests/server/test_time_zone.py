"""The time zone of this machine changes under the daemon: pictures and the log follow at once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.kit.daemon import RIG, ROOT, running
from tests.kit.wait import until

ZONES = Path("/usr/share/zoneinfo")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for an /etc of its own"),
    pytest.mark.skipif(not (ZONES / "Asia/Seoul").exists(), reason="needs tzdata"),
]
# a copy of /etc, in which the zone is UTC at first
OWN_ETC = """
mount -t tmpfs tmpfs /mnt
cp -a /etc/. /mnt
mount --bind /mnt /etc
ln -sfn /usr/share/zoneinfo/UTC /etc/localtime
exec "$@"
"""
DETAILS, OFFSET = 0x8769, 0x9010


def with_own_etc(*argv: str | Path) -> list[str | Path]:
    return ["unshare", "--mount", "sh", "-ec", OWN_ETC, "sh", *argv]


# each step changes the file in another way; the moment is 2023-11-14 22:13:20 UTC and some seconds
PROGRAM = r"""
import logging, os, shutil, sys, time
from pathlib import Path
import numpy as np
from pi_cam_daemon.camera.pattern import _Picture
from pi_cam_daemon.imaging.exif import Photo, segment
from pi_cam_daemon.imaging.overlay import Overlay
from pi_cam_daemon.system import logs
from tests.kit.sources import video

file, zones, now = Path("/etc/localtime"), Path("/usr/share/zoneinfo"), 1_700_000_000.0
time.time = lambda: now

def replace(zone):  # as timedatectl does it
    file.with_suffix(".new").symlink_to(zones / zone)
    file.with_suffix(".new").replace(file)

def rewrite(zone):
    shutil.copyfile(zones / zone, file)
    os.utime(file, (now, now))  # seconds after the last change, as by a person

def copy(zone):
    file.unlink()
    rewrite(zone)

def grey():
    return np.full((240, 640), 128, np.uint8)

overlay, picture = Overlay("{time}"), _Picture(video(640, 480), "")
logs.setup("info")
for change, zone, hour, offset in [
    (replace, "Asia/Seoul", 31, b"+09:00"),
    (replace, "America/St_Johns", 18.5, b"-03:30"),
    (copy, "Asia/Kolkata", 27.5, b"+05:30"),
    (rewrite, "America/New_York", 17, b"-05:00"),
    (lambda _: file.unlink(), "", 22, b"+00:00"),
    (replace, "Asia/Seoul", 31, b"+09:00"),
]:
    change(zone)
    now += 1
    if "TZ" in os.environ:
        hour, offset = 23, b"+01:00"
    seconds = int(now) % 60
    told = f"{int(hour % 24):02}:{13 + 30 * (hour % 1 == 0.5):02}:{seconds:02}"
    drawn, expected = grey(), grey()
    overlay.draw(drawn)
    Overlay(f"2023-11-{14 + (hour >= 24)} {told}").draw(expected)
    assert (drawn == expected).all(), f"the overlay, after {change} {zone}"
    assert offset in segment(1, Photo(time.monotonic_ns())), f"Exif, after {change} {zone}"
    picture.draw(1, 0)
    assert picture._clock._shown == f"{told}.0", f"the test picture, after {change} {zone}"
    logging.info("%s", told)
"""


@pytest.mark.parametrize("zone", ["", "Europe/Berlin"])
def test_pictures_and_log_follow_the_zone_of_the_machine_unless_tz_is_set(zone: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("TZ", "JOURNAL_STREAM")}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"TZ": zone} if zone else {})
    argv = with_own_etc(sys.executable, "-c", PROGRAM)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 6
    for line in lines:
        _, clock, _, told = line.split()
        assert clock.partition(",")[0] == told


def test_the_camera_process_follows_the_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ", raising=False)
    argv = with_own_etc(sys.executable, RIG, tmp_path / "fault")
    small = {"video.width": 320, "video.height": 240}
    with running(tmp_path / "daemon", small, argv=argv) as daemon:
        daemon.wait_for_state("streaming")

        def offset() -> str:
            status, _, still = daemon.get("/still.jpg")
            if status != 200:  # a pause follows each
                return ""
            return str(Image.open(io.BytesIO(still)).getexif().get_ifd(DETAILS)[OFFSET])

        until("a still", lambda: offset() == "+00:00")
        etc = Path(f"/proc/{daemon.process.pid}/root/etc")
        (etc / "new").symlink_to(ZONES / "Asia/Seoul")
        (etc / "new").replace(etc / "localtime")
        until("a still in the new zone", lambda: offset() == "+09:00")
