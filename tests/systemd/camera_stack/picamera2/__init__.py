"""A picamera2 with one camera of grey pictures, for hosts on which a deployment is tried and no picture matters.

How the daemon uses the real picamera2 is tried in tests/picamera.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import libcamera

from picamera2.encoders import Request


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
        self._stopping = threading.Event()

    def create_video_configuration(self, **configuration: Any) -> dict[str, Any]:
        return configuration

    def configure(self, configuration: dict[str, Any]) -> None:
        self._configuration = configuration

    def camera_configuration(self) -> dict[str, Any]:
        return self._configuration

    def set_controls(self, controls: dict[str, Any]) -> None:
        self._frame_us = controls.get("FrameDurationLimits", (self._frame_us,))[0]

    def start_encoder(self, encoder: Any, output: Any) -> None:
        encoder.output = output
        self._encoder = encoder

    def start(self) -> None:
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    def _deliver(self) -> None:
        while not self._stopping.wait(self._frame_us / 1e6):
            self._encoder.encode("main", Request(self._configuration["main"]["size"], time.monotonic_ns() // 1000))

    def stop_recording(self) -> None:
        self._stopping.set()
        self._thread.join()

    def close(self) -> None:
        pass
