"""The Raspberry Pi's own camera, through picamera2.

picamera2 and libcamera are imported inside functions: they come from apt, exist on a Pi only, and take seconds to load
on a Zero.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_cam_daemon.camera.csi_controls import CsiControls
from pi_cam_daemon.camera.csi_encoders import MakeEncoder, choose_encoder, output_to, software_encoder
from pi_cam_daemon.camera.source import VIDEO_GROUP_HINT, Commands, Sink, Stop, TakeStill, next_command
from pi_cam_daemon.config.schema import CsiConfig, VideoConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.orientation import Orientation, overlay_of
from pi_cam_daemon.ipc.messages import CameraInfo, Still
from pi_cam_daemon.system import machine, setup

log = logging.getLogger(__name__)

# where libcamera looks for its own tuning files; one made from source comes first
_TUNING_FOLDERS = (Path("/usr/local/share/libcamera/ipa/rpi"), Path("/usr/share/libcamera/ipa/rpi"))
# how soon a command is obeyed
_CHECK_SECONDS = 0.2
# from the camera's start to a picture of full size; the server's patience is a little longer (stills.py)
_STILL_SECONDS = 8.0


@dataclass(frozen=True)
class Camera:
    """A CSI camera.

    *index* counts as `rpicam-hello --list-cameras` does, *name* is the sensor, *id* its place on the board.
    """

    index: int
    name: str
    id: str


def cameras() -> list[Camera]:
    """The CSI cameras, in picamera2's order; SourceError without picamera2 or without permission to look."""
    Picamera2 = _import_picamera2()
    with _explained():
        # libcamera looks for cameras, and reads the tuning file, only when its manager is made; picamera2 keeps one.
        Picamera2._cm.reset()
        found = Picamera2.global_camera_info()
    if not found and (nodes := machine.forbidden_nodes(Path("/dev"))):
        raise SourceError(f"No permission to open {nodes[0]}", Cause.PERMISSION, VIDEO_GROUP_HINT)
    # webcams come last in the list, so that leaving them out changes no index
    return [Camera(i, info["Model"], info["Id"]) for i, info in enumerate(found) if "/usb" not in info["Id"]]


def choose_camera(found: list[Camera], wanted: str) -> Camera:
    """The camera with the index or Id *wanted*, the first one if that is empty; SourceError if it is not there."""
    for camera in found:
        if wanted in ("", str(camera.index), camera.id):
            return camera
    if not found:
        raise SourceError(
            "picamera2 finds no CSI camera",
            Cause.MISSING,
            "Check the ribbon cable, and `rpicam-hello --list-cameras`; a third-party camera needs its dtoverlay",
        )
    there = "; ".join(f"{camera.index} is {camera.name}, {camera.id}" for camera in found)
    raise SourceError(f'There is no CSI camera "{wanted}"', Cause.MISSING, f"Set csi.camera to one of these: {there}")


class CsiSource:
    """One CSI camera, its controls set to *settings* from the start.

    *allocator*, *encoder* and *still_encoder* stand in for picamera2's buffers and for the choice of encoders.
    """

    def __init__(
        self,
        video: VideoConfig,
        csi: CsiConfig,
        settings: Mapping[str, Value] | None = None,
        *,
        allocator: Any = None,
        encoder: MakeEncoder = choose_encoder,
        still_encoder: MakeEncoder = software_encoder,
    ) -> None:
        self._video = video
        self._csi = csi
        self._settings = settings or {}
        self._allocator = allocator
        self._make_encoder = encoder
        self._make_still_encoder = still_encoder
        self._applied: dict[str, Any] = {}  # libcamera's controls as they were set last

    def run(self, sink: Sink, commands: Commands) -> None:
        with _explained():
            picam2, name = self._open()
        try:
            with _explained():
                output, controls = self._start(picam2, name, sink)
            while not isinstance(command := next_command(commands), Stop):
                if isinstance(command, TakeStill):
                    with _explained():
                        output = self._take_still(picam2, name, command.number, sink)
                elif command:
                    sink.controls(controls.set(command.number, command.values))
                output.wait(_CHECK_SECONDS)
        finally:
            with _explained(), contextlib.closing(picam2):
                picam2.stop_recording()

    def _open(self) -> tuple[Any, str]:
        Picamera2 = _import_picamera2()
        tuning = None
        if self._csi.tuning_file:
            tuning = str(find_tuning_file(self._csi.tuning_file, Picamera2.platform.name.lower(), _TUNING_FOLDERS))
            # Picamera2() sets it too, but libcamera reads it when cameras() makes its manager.
            os.environ["LIBCAMERA_RPI_TUNING_FILE"] = tuning
        camera = choose_camera(cameras(), self._csi.camera)
        return Picamera2(camera.index, tuning=tuning, allocator=self._allocator), camera.name

    def _start(self, picam2: Any, name: str, sink: Sink) -> tuple[Any, CsiControls]:
        """Configure the camera, tell *sink* what it gives and let it run; its frames' output, and its controls."""
        framerate = self._configure(picam2)
        self._applied.clear()

        def apply(values: dict[str, Any]) -> None:
            picam2.set_controls(values)
            self._applied.update(values)

        controls = CsiControls(picam2.camera_controls, round(1e6 / framerate), apply)
        report = controls.start(self._settings)
        given = picam2.camera_configuration()["main"]
        width, height = given["size"]
        self._draw_overlay(picam2)
        if (width, height) != (self._video.width, self._video.height):
            log.warning("%s gives %dx%d, not %dx%d", name, width, height, self._video.width, self._video.height)
        if framerate != self._video.framerate:
            log.warning("%s gives %.2f frames a second, not %g", name, framerate, self._video.framerate)
        # Before the camera: no frame comes ahead of the announcement, and an encoder that fails is not announced.
        output, encoder_name = self._start_encoder(picam2, sink)
        size = self._rest(picam2).size(width, height)
        sink.opened(CameraInfo("csi", name, *size, framerate, given["format"], encoder_name))
        sink.controls(report)
        picam2.start()
        return output, controls

    def _start_encoder(self, picam2: Any, sink: Sink) -> tuple[Any, str]:
        """What hands its pictures to *sink*, and its name."""
        width, height = picam2.camera_configuration()["main"]["size"]
        encoder, name = self._make_encoder(width, height, self._video.quality)
        output = output_to(sink, encoder, self._rest(picam2))
        picam2.start_encoder(encoder, output)
        return output, name

    def _draw_overlay(self, picam2: Any) -> None:
        """Have the overlay drawn on the luma of each picture, before the encoder gets it."""
        overlay = overlay_of(self._video)
        if overlay is None:
            return
        from picamera2 import MappedArray

        def draw(request: Any) -> None:
            width, height = request.config["main"]["size"]
            with MappedArray(request, "main") as mapped:
                overlay.draw(self._rest(picam2).view(mapped.array[:height, :width]))

        picam2.pre_callback = draw

    def _take_still(self, picam2: Any, name: str, number: int, sink: Sink) -> Any:
        """Switch the sensor to its full size for one picture, and back; the output of the stream from now on."""
        picam2.stop_recording()
        still = self._full_size(picam2, name, number)
        self._configure(picam2)
        # configuring forgets them
        picam2.set_controls(self._lasting())
        output, _ = self._start_encoder(picam2, sink)
        picam2.start()
        sink.still(still)
        return output

    def _full_size(self, picam2: Any, name: str, number: int) -> Still:
        # what is zoomed at has fewer pixels, and what is left out of the stream on purpose stays out of the still
        size = self._applied.get("ScalerCrop", (0, 0, *picam2.sensor_resolution))[2:]
        sensor = {"output_size": tuple(picam2.sensor_resolution)}
        try:
            # one buffer, for twelve million pixels take 18 MB of CMA memory
            picam2.configure(self._configuration(picam2, (size[0] & ~1, size[1] & ~1), sensor, buffer_count=1))
        except (RuntimeError, OSError) as error:
            why = explain(error)
            return Still(number, refused=f"No picture of full size: {why.message}{f'. {why.hint}' if why.hint else ''}")
        self._hold_rate(picam2)
        picam2.set_controls(self._lasting())
        orientation = self._rest(picam2)
        width, height = picam2.camera_configuration()["main"]["size"]
        encoder, _ = self._make_still_encoder(width, height, self._video.quality)
        picam2.start()
        request = picam2.capture_request(wait=_STILL_SECONDS)
        try:
            metadata = request.get_metadata()
            jpeg = encoder.encode_func(request, "main")
        finally:
            request.release()
            picam2.stop()
        photo = _photo(name, metadata)
        return Still(number, orientation.described(orientation.jpeg(jpeg), photo), photo.captured_ns)

    def _lasting(self) -> dict[str, Any]:
        """What was set, without what only happens once."""
        return {control: value for control, value in self._applied.items() if control != "AfTrigger"}

    def _configure(self, picam2: Any) -> float:
        """Set size, flips and frame rate, and return the frame rate that the camera will keep.

        libcamera replaces what it cannot give: a picture of another size is worth more than none.
        """
        size = self._video.width, self._video.height
        for sensor in self._sensor_modes(picam2):
            picam2.configure(self._configuration(picam2, size, sensor, self._csi.buffer_count))
            if picam2.camera_controls["FrameDurationLimits"][0] <= round(1e6 / self._video.framerate):
                break
        return self._hold_rate(picam2)

    def _configuration(self, picam2: Any, size: tuple[int, int], sensor: dict[str, Any], buffer_count: int) -> Any:
        import libcamera

        video = self._video
        # Flips are free in the sensor, and half a turn is both. A quarter turn it cannot do: it flips so that what is
        # left is to transpose, which is lossless with a JPEG of any size.
        transform = libcamera.Transform(
            hflip=video.hflip != (video.rotation in (180, 270)), vflip=video.vflip != (video.rotation in (90, 180))
        )
        return picam2.create_video_configuration(
            # what all encoders take as it is, at 1.5 bytes a pixel instead of 4
            main={"size": size, "format": "YUV420"},
            # A raw stream costs another buffer_count frames of the sensor's size in the CMA memory, which a Zero has
            # little of. It once was needed to choose the sensor's mode; now `sensor` does that.
            raw=None,
            sensor=sensor,
            transform=transform,
            # JPEG's colours: BT.601, full range. Video's default would look pale.
            colour_space=libcamera.ColorSpace.Sycc(),
            buffer_count=buffer_count,
        )

    def _hold_rate(self, picam2: Any) -> float:
        """Have frames come at the rate that is configured, or the nearest to it, which is returned."""
        wanted_us = round(1e6 / self._video.framerate)
        shortest_us, longest_us, _ = picam2.camera_controls["FrameDurationLimits"]
        frame_us = int(min(max(wanted_us, shortest_us), longest_us))
        # picamera2's FrameRate sets this same control, without regard to the limits
        picam2.set_controls({"FrameDurationLimits": (frame_us, frame_us)})
        return self._video.framerate if frame_us == wanted_us else 1e6 / frame_us

    def _rest(self, picam2: Any) -> Orientation:
        """What is left to do after the flips that the camera does."""
        video = self._video
        done = picam2.camera_configuration()["transform"]
        return Orientation(
            video.rotation,
            video.hflip != bool(done.hflip),
            video.vflip != bool(done.vflip),
            video.rotation_method,
            video.quality,
        )

    def _sensor_modes(self, picam2: Any) -> list[dict[str, Any]]:
        """The sensor modes to try, best first.

        picamera2 takes the mode nearest to the picture's size, and the small modes of many sensors see only the middle:
        at 640x480 an IMX219 shows two fifths of the width. The mode of half the full resolution is binned, sees all of
        it, and gives 40 frames a second and more on the usual sensors. Faster or larger is picamera2's choice.
        """
        half = tuple(side // 2 for side in picam2.sensor_resolution)
        if self._video.width <= half[0] and self._video.height <= half[1]:
            return [{"output_size": half}, {}]
        return [{}]


def _photo(name: str, metadata: Mapping[str, Any]) -> Photo:
    """What libcamera says of a picture; webcams and the like tell neither exposure nor gains."""
    now_ns = time.monotonic_ns()
    exposure_us, gain = metadata.get("ExposureTime"), metadata.get("AnalogueGain")
    return Photo(
        min(metadata.get("SensorTimestamp", now_ns), now_ns),
        name,
        exposure_us,
        # a gain of 1 is called ISO 100, as in rpicam-apps
        None if gain is None else round(100 * gain * metadata.get("DigitalGain", 1.0)),
    )


def find_tuning_file(name: str, platform: str, folders: Sequence[Path]) -> Path:
    """The path of libcamera's tuning file *name* for *platform* (vc4 or pisp), or *name* itself if that is a path."""
    candidates = [Path(name)] if "/" in name else [folder / platform / name for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise SourceError(
        f"There is no tuning file {name}", Cause.SETTINGS, f"Looked for {' and '.join(map(str, candidates))}"
    )


def _import_picamera2() -> Any:
    try:
        from picamera2 import Picamera2
    # ValueError: "numpy.dtype size changed", when pip's numpy does not suit apt's simplejpeg
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"picamera2 cannot be loaded: {error}",
            Cause.MISSING,
            setup.progress()
            or "Run sudo apt install python3-picamera2 --no-install-recommends; a virtual environment needs "
            "--system-site-packages, and no numpy of its own",
        ) from error
    return Picamera2


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turns what picamera2 raises for a camera that fails into SourceError."""
    try:
        yield
    except SourceError:
        raise
    except (RuntimeError, OSError) as error:
        raise explain(error) from error


def explain(error: BaseException) -> SourceError:
    """The SourceError for an exception out of picamera2, which wraps libcamera's and the kernel's in its own."""
    chain = [error]
    while deeper := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(deeper)
    said = ": ".join(dict.fromkeys(str(link).rstrip(".") for link in chain))
    for link in chain:
        if isinstance(link, PermissionError):
            return SourceError(f"No permission for the camera: {link}", Cause.PERMISSION, VIDEO_GROUP_HINT)
        if isinstance(link, OSError) and link.errno == errno.ENOMEM:
            return SourceError(
                f"No memory for the camera's buffers: {link}",
                Cause.LOST,
                "They come from CMA memory: lower video.width and video.height or csi.buffer_count, or give it more "
                "with dtoverlay=vc4-kms-v3d,cma-256 in config.txt",
            )
    if any(busy in said for busy in ("resource busy", "in use by another process", "did not complete")):
        return SourceError(
            f"The camera does not open: {said}",
            Cause.BUSY,
            "Another program may hold it; `sudo fuser /dev/media*` tells which",
        )
    if any(refused in said for refused in ("Invalid camera configuration", "Configuration failed")):
        return SourceError(f"The camera refuses its settings: {said}", Cause.SETTINGS)
    return SourceError(f"The camera failed: {said}")
