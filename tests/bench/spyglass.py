"""Run spyglass on a V4L2 camera: its own server, with stand-ins for picamera2 and libcamera, which find no fake camera.

    python -m tests.bench.spyglass SITE DEVICE PORT WIDTH HEIGHT FPS

SITE is the folder with the package. The stand-ins do less than the real ones: they take a JPEG from the driver and hand
it over, as picamera2 does with a picture from the encoder of a Pi.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from pi_cam_daemon.camera import v4l2

_WAIT_MS = 1000


class _FileOutput:
    def __init__(self, file: Any) -> None:
        self.file = file


class _Camera:
    """Stand in for picamera2.Picamera2, as far as spyglass uses it."""

    device = Path()
    framerate = 0.0

    def __init__(self, camera_num: int, tuning: object = None) -> None:  # noqa: ARG002
        self.camera_controls: dict[str, object] = {}

    def _is_rpi_camera(self) -> bool:  # every viewer of another one takes pictures from the rest
        return True

    def create_video_configuration(self, main: dict[str, tuple[int, int]], **_: object) -> tuple[int, int]:
        return main["size"]

    def configure(self, size: tuple[int, int]) -> None:
        self._size = size

    def start_encoder(self, _encoder: object, output: _FileOutput) -> None:
        self._output = output

    def start(self) -> None:
        threading.Thread(target=self._deliver, daemon=True).start()

    def stop_recording(self) -> None:
        pass

    def _deliver(self) -> None:
        with v4l2.opened(self.device) as fd:
            capture = v4l2.Capture(fd, "MJPG", *self._size, self.framerate)
            with capture.streaming():
                while True:
                    if capture.wait(_WAIT_MS) and (picture := capture.newest()):
                        jpeg = picture[0][: picture[2]]
                        capture.give_back()
                        self._output.file.write(jpeg)


def _module(name: str, **content: object) -> None:
    module = ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module


def main(site: str, device: str, port: str, width: str, height: str, fps: str) -> None:
    _Camera.device, _Camera.framerate = Path(device), float(fps)
    names = SimpleNamespace(Manual=0, Continuous=1, Normal=0, Fast=1)
    _module("libcamera", controls=SimpleNamespace(AfModeEnum=names, AfSpeedEnum=names), Transform=SimpleNamespace)
    _module("picamera2", Picamera2=_Camera)
    _module("picamera2.outputs", FileOutput=_FileOutput, Output=object)
    _module("picamera2.encoders", MJPEGEncoder=object)
    sys.path.append(site)
    from spyglass import cli

    options = ["--bindaddress=127.0.0.1", f"--port={port}", f"--resolution={width}x{height}", f"--fps={fps}"]
    cli.main([*options, "--disable_webrtc"])


if __name__ == "__main__":
    main(*sys.argv[1:])
