"""A picamera2 that behaves as `machine` says, with threads that deliver as the real one's do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import libcamera

from picamera2.platform import Platform


@dataclass
class Machine:
    """The Pi and its cameras; tests change it."""

    cameras: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"Model": "imx708", "Id": "/base/soc/i2c0mux/i2c@1/imx708@1a", "Num": 1},
            {"Model": "imx219", "Id": "/base/soc/i2c0mux/i2c@0/imx219@10", "Num": 0},
        ]
    )
    platform: Platform = Platform.VC4
    sensor_resolution: tuple[int, int] = (3280, 2464)
    # the shortest frame by the sensor mode that was asked for, in µs; `None` is the mode that picamera2 chooses
    shortest_us: dict[tuple[int, int] | None, int] = field(default_factory=lambda: {(1640, 1232): 23_894, None: 11_000})
    longest_us: int = 11_767_556
    # what else the camera lists, with its limits and default; anything else is refused, as libcamera's binding does
    listed: dict[str, tuple[Any, Any, Any]] = field(default_factory=dict)
    gives_size: tuple[int, int] | None = None
    flips: bool = True
    # or what makes one for the transform that is configured
    picture: bytes | Callable[[libcamera.Transform], bytes] = b"\xff\xd8 a picture \xff\xd9"
    stalled: bool = False
    open_error: BaseException | None = None
    encoder_error: BaseException | None = None
    # configuring for so many pixels or more fails with it
    memory_error: tuple[int, BaseException] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    # what was done to it
    configurations: list[dict[str, Any]] = field(default_factory=list)
    controls: dict[str, Any] = field(default_factory=dict)
    still_controls: dict[str, Any] = field(default_factory=dict)
    released: int = 0
    delivered: int = 0
    open_cameras: list[int] = field(default_factory=list)
    tuning_when_listed: str | None = None


machine = Machine()


class _CameraManager:
    def reset(self) -> None:
        machine.tuning_when_listed = os.environ.get("LIBCAMERA_RPI_TUNING_FILE")


class _PlatformOfMachine:
    def __get__(self, *_: object) -> Platform:
        return machine.platform


class Request:
    """One picture of *size*."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def get_metadata(self) -> dict[str, Any]:
        return machine.metadata

    def release(self) -> None:
        machine.released += 1


class Picamera2:
    platform = _PlatformOfMachine()
    _cm = _CameraManager()

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return machine.cameras

    def __init__(self, camera_num: int, tuning: str | None = None, allocator: object = None) -> None:
        del tuning, allocator
        if machine.open_error:
            try:
                raise machine.open_error
            except Exception as error:
                raise RuntimeError("Camera __init__ sequence did not complete.") from error
        self._number = camera_num
        machine.open_cameras.append(camera_num)
        self.sensor_resolution = machine.sensor_resolution
        self._configuration: dict[str, Any] = {}
        self._encoder: Any = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        mode = self._configuration["sensor"].get("output_size")
        return {"FrameDurationLimits": (machine.shortest_us[mode], machine.longest_us, 33_333), **machine.listed}

    def create_video_configuration(self, **configuration: Any) -> dict[str, Any]:
        return configuration

    def configure(self, configuration: dict[str, Any]) -> None:
        machine.configurations.append(configuration)
        width, height = configuration["main"]["size"]
        if machine.memory_error and width * height >= machine.memory_error[0]:
            raise machine.memory_error[1]
        machine.controls.clear()  # as the real one forgets them
        self._configuration = configuration | {"main": dict(configuration["main"])}
        if machine.gives_size:
            self._configuration["main"]["size"] = machine.gives_size
        if not machine.flips:
            self._configuration["transform"] = libcamera.Transform()

    def camera_configuration(self) -> dict[str, Any]:
        return self._configuration

    def set_controls(self, controls: dict[str, Any]) -> None:
        for name, value in controls.items():
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
            machine.controls[name] = value

    def start_encoder(self, encoder: Any, output: Any) -> None:
        if machine.encoder_error:
            raise machine.encoder_error
        encoder.output = output
        self._encoder = encoder

    def start(self) -> None:
        if self._encoder is None:  # for a still
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    def _deliver(self) -> None:
        frame_us = machine.controls["FrameDurationLimits"][0]
        self._encoder.firsttimestamp = 1_000_000
        since_first_us = 0
        while not self._stopping.wait(frame_us / 1e6):
            if not machine.stalled:
                picture = machine.picture
                if callable(picture):
                    picture = picture(self._configuration["transform"])
                self._encoder.output.outputframe(picture, True, since_first_us, None, False)
                since_first_us += frame_us
                machine.delivered += 1

    def capture_request(self, wait: float) -> Request:
        del wait
        machine.still_controls = dict(machine.controls)
        return Request(self._configuration["main"]["size"])

    def stop(self) -> None:
        assert self._thread is None

    def stop_recording(self) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        self._encoder = None

    def close(self) -> None:
        assert self._thread is None, "closed while it runs"
        machine.open_cameras.remove(self._number)
