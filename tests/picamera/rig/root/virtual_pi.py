"""Makes a Raspberry Pi's cameras of libcamera's virtual ones. The rig's root loads it by a .pth file.

picamera2 is untouched. Of libcamera's binding these classes are changed: Camera, Request, Stream. The real pipeline
goes on to open, start, queue, complete and cancel; what a Pi's pipeline does otherwise is done here, as libcamera's
pipeline_base.cpp, vc4.cpp and ipa_base.cpp say:

- The cameras have modes, a raw stream, the controls of a Pi's camera, and properties by which picamera2 knows one.
- A configuration is adjusted or refused as on a Pi 0 to 4. Pictures are YUV420, flipped by the sensor, cropped by
  ScalerCrop, and one comes in each frame time. Where picamera2 sees a Pi 5, each of two streams has a region of its own
  in ScalerCrops, and ScalerCrop beside that is ignored.
- Buffers take CMA memory, and without a raw stream start() takes four of the sensor's size for itself.

`cameras` has what each was asked for, and faults to set.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pi_configuration import PiConfiguration

# what the automatic exposure finds
AUTO_EXPOSURE_US, AUTO_GAIN = 8_000, 1.5

# by libcamera's id
cameras: dict[str, PiCamera] = {}


class PiCamera:
    """One camera: what was asked of it, and its faults."""

    def __init__(self, sensor: Any) -> None:
        self.sensor = sensor
        self.reset()
        self.configuration: PiConfiguration | None = None
        self.values: dict[str, Any] = {}  # controls in force; all but the regions outlast a new configuration
        self.crops: dict[int, Any] = {}  # regions that were set, by the stream's number
        self.pacer: _Pacer | None = None
        self.lock = threading.Lock()

    def reset(self) -> None:
        """Forget what was asked, and end all faults."""
        self.configurations: list[PiConfiguration] = []
        self.starts: list[dict[str, Any]] = []  # controls that start() got, by name
        self.requests: list[dict[str, Any]] = []  # controls that each request got, by name
        self.flips = True  # the sensor can
        self.controls: dict[str, Any] | None = None  # in place of the sensor's
        self.start_error: Callable[[PiConfiguration], str] = lambda _: ""  # what strerror() says
        self.silent: Callable[[PiConfiguration], bool] = lambda _: False  # no frame comes

    @property
    def running(self) -> PiConfiguration:
        assert self.configuration
        return self.configuration

    def limits(self) -> dict[str, tuple[Any, Any, Any]]:
        """Return (least, most, default) of what libcamera lists."""
        limits = self._of_mode()
        if self.controls is None:
            return limits
        return {**self.controls, "FrameDurationLimits": limits["FrameDurationLimits"]}

    def _of_mode(self) -> dict[str, tuple[Any, Any, Any]]:
        mode = self.configuration.mode if self.configuration else self.sensor.modes[-1]
        return self.sensor.limits(mode, self._cropped())

    def _cropped(self) -> list[tuple[int, int]]:
        """Return the sizes of the streams that have a region of their own: both on a Pi 5, and one on a Pi 0 to 4."""
        from picamera2.platform import Platform, get_platform

        sizes = self.configuration.picture_sizes if self.configuration else [self.sensor.size]
        return sizes if get_platform() is Platform.PISP else sizes[:1]

    def apply(self, controls: dict[str, Any]) -> None:
        """Take *controls* over; the regions as applyScalerCrop() does."""
        several, one = controls.get("ScalerCrops", ()), controls.get("ScalerCrop")
        with self.lock:
            self.values |= controls
            for index in range(len(self._cropped())):
                if index < len(several):
                    self.crops[index] = several[index]
                elif one is not None:
                    self.crops[index] = one

    def forget_crops(self) -> None:
        with self.lock:
            self.crops.clear()
            for name in ("ScalerCrop", "ScalerCrops"):
                self.values.pop(name, None)

    def frame_seconds(self) -> float:
        least, most, usual = self._of_mode()["FrameDurationLimits"]
        with self.lock:
            wanted = self.values.get("FrameDurationLimits", (usual, usual))[1]
        return float(min(max(wanted, least), most)) / 1e6

    def metadata(self) -> dict[str, Any]:
        """Return what a Pi says of a picture, by name."""
        with self.lock:
            manual = {name: self.values.get(f"{name}Mode") == 1 for name in ("ExposureTime", "AnalogueGain")}
            exposure = self.values.get("ExposureTime", 0) if manual["ExposureTime"] else AUTO_EXPOSURE_US
            gain = self.values.get("AnalogueGain", 0.0) if manual["AnalogueGain"] else AUTO_GAIN
        return {
            "ExposureTime": int(exposure),
            "AnalogueGain": float(gain),
            "DigitalGain": 1.0,
            "ScalerCrop": self.crop(),
        }

    def crop(self, stream: int = 0) -> tuple[int, int, int, int]:
        """Return the region of the sensor that *stream* shows: ScalerCrop, moved and shrunk into the mode's."""
        from pi_sensors import widest

        limits, sizes = self._of_mode(), self._cropped()
        stream = min(stream, len(sizes) - 1)
        whole = limits["ScalerCrop"][1]
        with self.lock:
            crop = self.crops.get(stream)
        if crop is None:
            return widest(whole, *sizes[stream])
        x, y, wide, high = crop.to_tuple() if hasattr(crop, "to_tuple") else crop
        wide, high = min(wide, whole[2]), min(high, whole[3])
        x = min(max(x, whole[0]), whole[0] + whole[2] - wide)
        y = min(max(y, whole[1]), whole[1] + whole[3] - high)
        return x, y, wide, high


class _Pacer(threading.Thread):
    """Completes a camera's requests at its frame rate, one in each frame time, with a picture in each buffer."""

    def __init__(self, camera: PiCamera, queue_request: Callable[[Any], None]) -> None:
        super().__init__(name=f"sensor {camera.sensor.model}", daemon=True)
        self._camera = camera
        self._queue_request = queue_request
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._frame = 0

    def put(self, request: Any, controls: dict[str, Any]) -> None:
        self._requests.put((request, controls))

    def stop(self) -> None:
        self._stopped.set()
        self._requests.put(None)
        self.join()

    def run(self) -> None:
        due = time.monotonic()
        while (item := self._requests.get()) is not None:
            request, controls = item
            self._camera.apply(controls)
            due = max(due + self._camera.frame_seconds(), time.monotonic())
            if self._stopped.wait(due - time.monotonic()):
                return
            while self._camera.silent(self._camera.running):
                if self._stopped.wait(0.01):
                    return
            self._draw(request)
            _metadata[request] = self._camera.metadata()
            self._queue_request(request)

    def _draw(self, request: Any) -> None:
        from pi_configuration import sides
        from pi_memory import pixels
        from pi_scene import View, draw

        configuration = self._camera.running
        wide, high = self._camera.sensor.size
        hflip, vflip = configuration.flipped()
        for stream, buffer in request.buffers.items():
            index, described = next((i, each) for i, each in enumerate(configuration) if each.stream == stream)
            x, y, w, h = self._camera.crop(index)
            if str(described.pixel_format) == "YUV420" and buffer in pixels:
                view = View(*sides(described), x / wide, y / high, w / wide, h / high, hflip, vflip)
                draw(pixels[buffer], view, described.stride, self._frame)
        self._frame += 1


# of requests: controls that were set and not queued yet, and metadata of the last completion
_set: dict[Any, dict[str, Any]] = {}
_metadata: dict[Any, dict[str, Any]] = {}
_streams: dict[Any, Any] = {}


@dataclass(frozen=True)
class _ControlId:
    name: str
    type: Any


class _OwnControls:
    """libcamera.controls.rpi, which Debian's libcamera has not without the pipelines of a Pi."""

    ScalerCrops: _ControlId


def _identity(name: str) -> Any:
    """Return libcamera's ControlId of this name."""
    import libcamera

    places = (libcamera.controls, libcamera.controls.draft, _OwnControls)
    return next(getattr(place, name) for place in places if hasattr(place, name))


def _typed(value: Any) -> Any:
    import libcamera

    return libcamera.Rectangle(*value) if isinstance(value, tuple) and len(value) == 4 else value


def install() -> None:
    try:
        import libcamera
        from pi_sensors import SENSORS
    except ImportError:
        return  # while the root is being made

    _OwnControls.ScalerCrops = _ControlId("ScalerCrops", libcamera.ControlType.Rectangle)
    cameras.update({name: PiCamera(sensor) for name, sensor in SENSORS.items()})
    _change_camera(libcamera, libcamera.Camera)
    _change_request(libcamera.Request)
    real_configuration = libcamera.Stream.configuration
    libcamera.Stream.configuration = property(lambda stream: _streams.get(stream) or real_configuration.fget(stream))


def _change_camera(libcamera: Any, kind: Any) -> None:
    generate, configure, start, stop = kind.generate_configuration, kind.configure, kind.start, kind.stop
    queue_request, release, properties = kind.queue_request, kind.release, kind.properties
    video = libcamera.StreamRole.VideoRecording

    def new_generate(camera: Any, roles: list[Any]) -> Any:
        from pi_configuration import PiConfiguration

        return PiConfiguration(cameras[camera.id], generate(camera, [video] * len(roles)), roles)

    def new_configure(camera: Any, configuration: PiConfiguration) -> None:
        mine = cameras[camera.id]
        _free(mine)
        configure(camera, configuration.real)
        for stream in configuration:
            stream.stream = stream.real.stream
            _streams[stream.stream] = stream
        mine.configuration = configuration
        mine.configurations.append(configuration)
        mine.forget_crops()

    def new_start(camera: Any, controls: dict[Any, Any]) -> None:
        from pi_memory import memory

        mine = cameras[camera.id]
        named = {control.name: value for control, value in controls.items()}
        mine.starts.append(named)
        why = mine.start_error(mine.running)
        if not why:
            try:
                memory.take(mine, mine.running.own_bytes)
            except OSError as error:
                why = error.strerror
        if why:  # as the binding words std::system_error
            raise RuntimeError(f"Failed to start camera: {why}")
        start(camera, {control: value for control, value in controls.items() if not isinstance(control, _ControlId)})
        mine.apply(named)
        mine.pacer = _Pacer(mine, lambda request: queue_request(camera, request))
        mine.pacer.start()

    def new_queue(camera: Any, request: Any) -> None:
        mine = cameras[camera.id]
        controls = _set.pop(request, {})
        mine.requests.append(controls)
        assert mine.pacer
        mine.pacer.put(request, controls)

    def new_stop(camera: Any) -> None:
        mine = cameras[camera.id]
        if mine.pacer:
            mine.pacer.stop()
            mine.pacer = None
        stop(camera)
        _set.clear()
        _metadata.clear()

    def new_release(camera: Any) -> None:
        release(camera)
        mine = cameras[camera.id]
        _free(mine)
        mine.configuration = None
        mine.crops.clear()
        mine.values.clear()  # picamera2 lets the camera manager go

    def new_controls(camera: Any) -> dict[Any, Any]:
        return {
            _identity(name): SimpleNamespace(min=_typed(least), max=_typed(most), default=_typed(usual), values=[])
            for name, (least, most, usual) in cameras[camera.id].limits().items()
        }

    def new_properties(camera: Any) -> dict[Any, Any]:
        return {**properties.fget(camera), libcamera.properties.draft.ColorFilterArrangement: 0}

    kind.generate_configuration, kind.configure, kind.start, kind.stop = (
        new_generate,
        new_configure,
        new_start,
        new_stop,
    )
    kind.queue_request, kind.release = new_queue, new_release
    kind.controls, kind.properties = property(new_controls), property(new_properties)


def _change_request(kind: Any) -> None:
    set_control, metadata = kind.set_control, kind.metadata

    def new_set(request: Any, control: Any, value: Any) -> None:
        if not isinstance(control, _ControlId):
            set_control(request, control, value)  # checks the type
        _set.setdefault(request, {})[control.name] = value

    def new_metadata(request: Any) -> dict[Any, Any]:
        mine = {_identity(name): _typed(value) for name, value in _metadata.get(request, {}).items()}
        return {**metadata.fget(request), **mine}

    kind.set_control, kind.metadata = new_set, property(new_metadata)


def _free(camera: PiCamera) -> None:
    from pi_memory import memory

    memory.free(camera)
