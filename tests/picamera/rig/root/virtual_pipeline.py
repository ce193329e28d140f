"""Makes libcamera's `virtual` pipeline enough of a camera for picamera2. The rig's root loads it by a .pth file.

The libcamera binding is changed, picamera2 is not:

- Picamera2() asks for the raw role and uses the formats in the answer, but the virtual pipeline answers None. The
  pipeline of a webcam answers with its ordinary formats, so this one does too.
- The virtual pipeline completes each request at once, 1,800 a second. A sensor completes one in each frame time, and
  FrameDurationLimits says how long that is.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any


class _Sensor(threading.Thread):
    """Completes a camera's requests at its frame rate, one in each frame time."""

    def __init__(self, camera: Any, queue_request: Any, frame_seconds: float) -> None:
        super().__init__(name=f"sensor of {camera.id}", daemon=True)
        self._camera = camera
        self._queue_request = queue_request
        self._frame_seconds = frame_seconds
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def put(self, request: Any) -> None:
        self._requests.put(request)

    def stop(self) -> None:
        self._stopped.set()
        self._requests.put(None)
        self.join()

    def run(self) -> None:
        due = time.monotonic()
        while (request := self._requests.get()) is not None:
            due = max(due + self._frame_seconds, time.monotonic())
            if self._stopped.wait(due - time.monotonic()):
                return
            self._queue_request(self._camera, request)


def _frame_seconds(camera: Any, controls: dict[Any, Any]) -> float:
    """Return the requested frame time within the camera's limits; 1/30 s without a request."""
    limits = {control.name: info for control, info in camera.controls.items()}["FrameDurationLimits"]
    wanted = {control.name: value for control, value in controls.items()}.get("FrameDurationLimits", (0, 33_333))
    return float(min(max(wanted[1], limits.min), limits.max)) / 1e6


def install() -> None:
    try:
        import libcamera
    except ImportError:
        return  # while the root is being made

    camera_class = libcamera.Camera
    generate, start, queue_request, stop = (
        camera_class.generate_configuration,
        camera_class.start,
        camera_class.queue_request,
        camera_class.stop,
    )
    sensors: dict[str, _Sensor] = {}

    def generate_with_raw(camera: Any, roles: list[Any]) -> Any:
        raw, video = libcamera.StreamRole.Raw, libcamera.StreamRole.VideoRecording
        return generate(camera, [video if role == raw else role for role in roles])

    def paced_start(camera: Any, controls: dict[Any, Any]) -> None:
        sensors[camera.id] = _Sensor(camera, queue_request, _frame_seconds(camera, controls))
        start(camera, controls)
        sensors[camera.id].start()

    def paced_queue_request(camera: Any, request: Any) -> None:
        sensors[camera.id].put(request)

    def paced_stop(camera: Any) -> None:
        sensors[camera.id].stop()
        stop(camera)

    camera_class.generate_configuration = generate_with_raw
    camera_class.start = paced_start
    camera_class.queue_request = paced_queue_request
    camera_class.stop = paced_stop
