"""Pictures are turned without libturbojpeg too."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from tests.kit.daemon import ROOT


def test_without_libturbojpeg_a_log_line_says_what_to_install(tmp_path: Path) -> None:
    scene = np.zeros((48, 64, 3), np.uint8)
    cv2.circle(scene, (10, 10), 8, (40, 40, 200), -1)
    assert cv2.imwrite(str(tmp_path / "picture.jpg"), cv2.GaussianBlur(scene, (0, 0), 2))
    upright = cv2.imread(str(tmp_path / "picture.jpg"))
    assert upright is not None
    # where the loader finds what stands in its way: a library that is none
    (tmp_path / "libturbojpeg.so.0").write_bytes(b"not a library")
    program = (
        "import logging, sys; logging.basicConfig()\n"
        "from pi_cam_daemon.imaging.orientation import Orientation\n"
        "orientation = Orientation(90, False, False)\n"
        "data = open('picture.jpg', 'rb').read()\n"
        "sys.stdout.buffer.write([orientation.jpeg(data) for _ in range(3)][-1])\n"
    )
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", program]
    result = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr.decode()
    turned = cv2.imdecode(np.frombuffer(result.stdout, np.uint8), cv2.IMREAD_COLOR)
    assert turned is not None and turned.shape == (64, 48, 3)
    assert np.abs(turned.astype(int) - np.rot90(upright, -1)).mean() < 4
    assert result.stderr.count(b"sudo apt install libturbojpeg0") == 1
