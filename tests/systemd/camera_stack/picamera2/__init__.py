"""A picamera2 with one camera of grey pictures, for hosts on which a deployment is tried and no picture matters.

How the daemon uses the real picamera2 is tried in tests/picamera.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import libcamera
import numpy as np

from picamera2.encoders import Encoder, Request


class MappedArray:
    """The planes of a grey picture."""

    def __init__(self, request: Request, _stream: str, write: bool = True) -> None:
        del write
        width, height = request.size
        self.array = np.full((height * 3 // 2, width), 127, np.uint8)

    def __enter__(self) -> MappedArray:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Picamera2:
    class _cm:
        reset = staticmethod(lambda: None)

    sensor_resolution = (4608, 2592)

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx708", "Id": "/base/soc/i2c0mux/i2c@1/imx708@1a", "Num": 0}]

    def __init__(self, camera_num: int, tuning: str | None = None, allocator: object = None) -> None:
        del camera_num, tuning, allocator
        self.camera_controls = {"FrameDurationLimits": (10_000, 1_000_000, 33_333)}
        self._configuration: dict[str, Any] = {"transform": libcamera.Transform()}
        self._frame_us = 33_333
        self._encoders: dict[str, Encoder] = {}
        self._stopping = threading.Event()

    def create_video_configuration(self, **configuration: Any) -> dict[str, Any]:
        return configuration

    def configure(self, configuration: dict[str, Any]) -> None:
        self._configuration = configuration

    def camera_configuration(self) -> dict[str, Any]:
        return self._configuration

    def set_controls(self, controls: dict[str, Any]) -> None:
        self._frame_us = controls.get("FrameDurationLimits", (self._frame_us,))[0]

    def start_encoder(self, encoder: Encoder, output: Any = None, name: str = "main") -> None:
        encoder.output, encoder.size = output, self._configuration[name]["size"]
        self._encoders[name] = encoder

    def start(self) -> None:
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    def _deliver(self) -> None:
        while not self._stopping.wait(self._frame_us / 1e6):
            taken_us = time.monotonic_ns() // 1000
            for name, encoder in self._encoders.items():
                encoder.encode(name, Request(encoder.size, taken_us))

    def stop_recording(self) -> None:
        self._stopping.set()
        self._thread.join()

    def close(self) -> None:
        pass
