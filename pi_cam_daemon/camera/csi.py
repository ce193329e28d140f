"""Source for CSI cameras, through picamera2.

picamera2 and libcamera are imported inside functions: they come from apt, on a Pi only, and load for seconds on a Zero.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_cam_daemon.camera.csi_controls import CsiControls
from pi_cam_daemon.camera.csi_drawing import Drawing
from pi_cam_daemon.camera.csi_encoders import choose_encoder, encode_wanted, output_to, software_encoder
from pi_cam_daemon.camera.csi_picamera2 import explain, explained, import_picamera2
from pi_cam_daemon.camera.csi_small import FORMAT, STREAM, YUV, Encode, second_stream, small_encoder
from pi_cam_daemon.camera.looks import Looks, looks_at_pixels
from pi_cam_daemon.camera.small import SmallPictures
from pi_cam_daemon.camera.source import VIDEO_GROUP_HINT, Commands, Sink, Stop, TakeStill, first_of, next_command
from pi_cam_daemon.config.schema import CsiConfig, SmallConfig, VideoConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import Cause, SourceError
from pi_cam_daemon.imaging.exif import Photo
from pi_cam_daemon.imaging.orientation import Orientation, masks_of, overlay_of
from pi_cam_daemon.imaging.shrink import size as shrunk
from pi_cam_daemon.ipc.messages import CameraInfo, Still
from pi_cam_daemon.system import machine

log = logging.getLogger(__name__)

# libcamera's folders of tuning files; a libcamera built from source comes first
_TUNING_FOLDERS = (Path("/usr/local/share/libcamera/ipa/rpi"), Path("/usr/share/libcamera/ipa/rpi"))
# interval of the check for commands while no picture arrives
_CHECK_SECONDS = 0.2
# from the camera's start to a picture of full size, with three frames on top; the server waits longer (stills.py)
_STILL_SECONDS = 8.0
_LONGEST_STILL_SECONDS = 55.0


@dataclass(frozen=True)
class Camera:
    """A CSI camera: its number in `rpicam-hello --list-cameras`, the sensor's name, and libcamera's id for its port."""

    index: int
    name: str
    id: str


def cameras() -> list[Camera]:
    """Return the CSI cameras, in picamera2's order; SourceError without picamera2 or without permission."""
    Picamera2 = import_picamera2()
    with explained():
        # libcamera searches and reads the tuning file only when its manager is created; picamera2 keeps the manager.
        Picamera2._cm.reset()
        found = Picamera2.global_camera_info()
    if not found and (nodes := machine.forbidden_nodes(Path("/dev"))):
        message = f"No permission to open {nodes[0]}"
        raise SourceError(message, Cause.PERMISSION, VIDEO_GROUP_HINT, device=str(nodes[0]), group="video")
    # USB cameras come last in the list, so omitting them changes no index
    return [Camera(i, info["Model"], info["Id"]) for i, info in enumerate(found) if "/usb" not in info["Id"]]


def choose_camera(found: list[Camera], wanted: str) -> Camera:
    """Return the camera with the index or id *wanted*, or the first one if that is empty; SourceError if none fits."""
    for camera in found:
        if wanted in ("", str(camera.index), camera.id):
            return camera
    if not found:
        hint = "Check the ribbon cable, and `rpicam-hello --list-cameras`; a third-party camera needs its dtoverlay"
        raise SourceError("picamera2 finds no CSI camera", Cause.MISSING, hint, command="rpicam-hello --list-cameras")
    offers = "; ".join(_choices(found))
    hint = f"Set csi.camera to one of these: {offers}"
    values = {"camera": wanted, "setting": "csi.camera", "offers": offers}
    raise SourceError(f'There is no CSI camera "{wanted}"', Cause.MISSING, hint, **values)


def unchosen(found: list[Camera], wanted: str) -> str:
    """Return how to choose another one of *found* if *wanted* chooses none; "" if there is nothing to choose."""
    return "" if wanted else first_of("CSI", "csi.camera", _choices(found))


def _choices(found: list[Camera]) -> list[str]:
    return [f"{camera.index} is {camera.name}, {camera.id}" for camera in found]


class CsiSource:
    """Delivers the pictures of one CSI camera. *settings* are its first controls; tests set picamera2's *allocator*."""

    def __init__(
        self,
        video: VideoConfig,
        csi: CsiConfig,
        small: SmallConfig,
        settings: Mapping[str, Value] | None = None,
        *,
        allocator: Any = None,
    ) -> None:
        self._video = video
        self._csi = csi
        self._small = small
        self._small_pictures: SmallPictures[YUV]
        self._drawing: Drawing
        self._looks: Looks[Any]
        self._settings = settings or {}
        self._allocator = allocator
        self._found: list[Camera] | None = None
        self._reason = ""  # why this camera was taken

    def look(self) -> None:
        """Find the cameras, for the next `run`; SourceError if there is none."""
        with explained():
            self._found = self._cameras()
        choose_camera(self._found, "")

    def run(self, sink: Sink, commands: Commands) -> None:
        with explained():
            picam2, name = self._open()
        try:
            with explained():
                output, controls = self._start(picam2, name, sink)
            while not isinstance(command := next_command(commands), Stop):
                if isinstance(command, TakeStill):
                    with explained():
                        output = self._take_still(picam2, name, command.number, controls, sink)
                elif command:
                    sink.controls(controls.set(command.number, command.values))
                output.wait(_CHECK_SECONDS)
                self._drawing.check()
        finally:
            with explained(), contextlib.closing(picam2):
                picam2.stop_recording()

    def _open(self) -> tuple[Any, str]:
        # a second look would make a second manager of libcamera's
        found, self._found = self._cameras() if self._found is None else self._found, None
        camera = choose_camera(found, self._csi.camera)
        self._reason = unchosen(found, self._csi.camera)
        return import_picamera2()(camera.index, tuning=self._tuning(), allocator=self._allocator), camera.name

    def _cameras(self) -> list[Camera]:
        if tuning := self._tuning():
            # Picamera2() sets it too, but too late: libcamera reads it in cameras().
            os.environ["LIBCAMERA_RPI_TUNING_FILE"] = tuning
        return cameras()

    def _tuning(self) -> str | None:
        """Return the path of the configured tuning file, None if there is none."""
        if not self._csi.tuning_file:
            return None
        platform = import_picamera2().platform.name.lower()
        return str(find_tuning_file(self._csi.tuning_file, platform, _TUNING_FOLDERS))

    def _start(self, picam2: Any, name: str, sink: Sink) -> tuple[Any, CsiControls]:
        """Configure and start the camera, and report it to *sink*; return the output and the controls."""
        framerate = self._configure(picam2)
        controls = CsiControls(picam2.camera_controls, round(1e6 / framerate), picam2.set_controls)
        report = controls.start(self._settings)
        main = picam2.camera_configuration()["main"]
        width, height = main["size"]
        masks, overlay = masks_of(self._video), overlay_of(self._video)
        self._drawing = Drawing(lambda: self._orientation(picam2), masks, overlay)
        self._drawing.begin(picam2)
        small = shrunk(width, height, self._small.width), self._small.quality
        encode = Encode(*small, self._orientation(picam2), overlay_of(self._video))
        self._small_pictures = SmallPictures(sink, encode)
        self._looks = looks_at_pixels(sink, self._orientation(picam2))
        if (width, height) != (self._video.width, self._video.height):
            log.warning("%s gives %dx%d, not %dx%d", name, width, height, self._video.width, self._video.height)
        if framerate != self._video.framerate:
            log.warning("%s gives %.2f frames a second, not %g", name, framerate, self._video.framerate)
        # The camera starts last: no frame precedes the report, and an encoder that fails is not reported.
        output, encoder_name = self._start_encoder(picam2, name, sink)
        size = self._orientation(picam2).size(width, height)
        sink.opened(CameraInfo("csi", name, *size, framerate, main["format"], encoder_name, self._reason))
        sink.controls(report)
        picam2.start()
        return output, controls

    def _start_encoder(self, picam2: Any, name: str, sink: Sink) -> tuple[Any, str]:
        """Start an encoder that passes its pictures to *sink*; return its output and the name to show for it."""
        width, height = picam2.camera_configuration()["main"]["size"]
        encoder, encoder_name = choose_encoder(width, height, self._video.quality)
        encode_wanted(encoder, sink)
        output = output_to(sink, encoder, self._orientation(picam2), name)
        try:
            picam2.start_encoder(self._drawing.guard(encoder), output)
        except OSError:
            # As far as it has started: its thread would keep a core busy for ever.
            with contextlib.suppress(OSError, AttributeError):
                encoder.stop()
            raise
        picam2.start_encoder(self._drawing.guard(small_encoder(self._small_pictures, self._looks)), name=STREAM)
        return output, encoder_name

    def _take_still(self, picam2: Any, name: str, number: int, controls: CsiControls, sink: Sink) -> Any:
        """Switch the sensor to its full size for one picture, and back; return the new output of the stream."""
        picam2.stop_recording()
        still = self._full_size(picam2, name, number, controls.in_force(still=True))
        self._configure(picam2)
        picam2.set_controls(controls.in_force())  # configuring resets them
        output, _ = self._start_encoder(picam2, name, sink)
        picam2.start()
        sink.still(still)
        return output

    def _full_size(self, picam2: Any, name: str, number: int, controls: dict[str, Any]) -> Still:
        """Take the still *number* with libcamera's *controls*: the region of the stream, with all its pixels."""
        size = controls.get("ScalerCrop", (0, 0, *picam2.sensor_resolution))[2:]
        sensor = {"output_size": tuple(picam2.sensor_resolution)}
        try:
            # One buffer of each: twelve million pixels take 18 MB of CMA memory, and 15 MB raw. Without a raw stream
            # libcamera takes four raw buffers for itself.
            picam2.configure(self._configuration(picam2, (size[0] & ~1, size[1] & ~1), sensor, 1, raw={}))
            seconds = min(_STILL_SECONDS + 3 / self._hold_rate(picam2), _LONGEST_STILL_SECONDS)
            picam2.set_controls(controls)
            picam2.start()  # takes libcamera's own buffers
        except (RuntimeError, OSError) as error:
            why = explain(error)
            return Still(number, refused=f"No picture of full size: {why.message}{f'. {why.hint}' if why.hint else ''}")
        orientation = self._orientation(picam2)
        encoder, _ = software_encoder(self._video.quality)
        try:
            request = picam2.capture_request(wait=seconds)
        except TimeoutError:
            picam2.cancel_all_and_flush()  # stop() would wait behind it
            picam2.stop()
            return Still(number, refused=f"The camera gave no picture of full size within {seconds:.0f} s")
        try:
            metadata = request.get_metadata()
            self._drawing.check()
            jpeg = encoder.encode_func(request, "main")
        finally:
            request.release()
            picam2.stop()
        photo = _photo(name, metadata)
        return Still(number, orientation.described(orientation.jpeg(jpeg), photo), photo.captured_ns)

    def _configure(self, picam2: Any) -> float:
        """Set size, flips and frame rate; return the real frame rate. libcamera replaces a size that it cannot give."""
        size = self._video.width, self._video.height
        for sensor in self._sensor_modes(picam2):
            second = second_stream(size)
            picam2.configure(self._configuration(picam2, size, sensor, self._csi.buffer_count, second=second))
            if picam2.camera_controls["FrameDurationLimits"][0] <= round(1e6 / self._video.framerate):
                break
        return self._hold_rate(picam2)

    def _configuration(
        self,
        picam2: Any,
        size: tuple[int, int],
        sensor: dict[str, Any],
        buffer_count: int,
        raw: dict[str, Any] | None = None,
        second: dict[str, Any] | None = None,
    ) -> Any:
        """Return picamera2's configuration for pictures of this *size*, and for the *second* stream.

        *raw*: the raw stream, {} for that of *sensor*. While pictures are streamed there is none: it would have
        *buffer_count* buffers of the sensor's size, libcamera takes four.
        """
        import libcamera

        video = self._video
        # Flips in the sensor are free, and half a turn is both. For a quarter turn the sensor flips so that only a
        # transposition is left, which is lossless for a JPEG of any size.
        transform = libcamera.Transform(
            hflip=video.hflip != (video.rotation in (180, 270)), vflip=video.vflip != (video.rotation in (90, 180))
        )
        return picam2.create_video_configuration(
            # every encoder takes it without conversion; it has 1.5 bytes per pixel instead of 4
            main={"size": size, "format": FORMAT},
            lores=second,
            raw=raw,
            sensor=sensor,
            transform=transform,
            # JPEG's colours: BT.601, full range. The default for video would look pale.
            colour_space=libcamera.ColorSpace.Sycc(),
            buffer_count=buffer_count,
        )

    def _hold_rate(self, picam2: Any) -> float:
        """Set the configured frame rate, or the nearest possible one, and return it."""
        wanted_us = round(1e6 / self._video.framerate)
        shortest_us, longest_us, _ = picam2.camera_controls["FrameDurationLimits"]
        frame_us = int(min(max(wanted_us, shortest_us), longest_us))
        # picamera2's FrameRate sets the same control, but ignores the limits
        picam2.set_controls({"FrameDurationLimits": (frame_us, frame_us)})
        return self._video.framerate if frame_us == wanted_us else 1e6 / frame_us

    def _orientation(self, picam2: Any) -> Orientation:
        """Return the orientation that is left to do after the camera's own flips."""
        video, done = self._video, picam2.camera_configuration()["transform"]
        hflip, vflip = video.hflip != bool(done.hflip), video.vflip != bool(done.vflip)
        return Orientation(video.rotation, hflip, vflip, video.rotation_method, video.quality)

    def _sensor_modes(self, picam2: Any) -> list[dict[str, Any]]:
        """Return the sensor modes to try, best first.

        picamera2 takes the mode nearest to the picture's size, but the small modes of many sensors see only the middle:
        at 640x480 an IMX219 shows two fifths of the width. The mode of half the full size is binned, sees everything,
        and gives at least 40 frames per second on the usual sensors. For faster or larger ones picamera2 chooses.
        """
        half = tuple(side // 2 for side in picam2.sensor_resolution)
        if self._video.width <= half[0] and self._video.height <= half[1]:
            return [{"output_size": half}, {}]
        return [{}]


def _photo(name: str, metadata: Mapping[str, Any]) -> Photo:
    """Convert libcamera's metadata of a picture; some cameras have neither exposure nor gains."""
    now_ns = time.monotonic_ns()
    captured_ns, gain = min(metadata.get("SensorTimestamp", now_ns), now_ns), metadata.get("AnalogueGain")
    # a gain of 1 is ISO 100, as in rpicam-apps
    iso = None if gain is None else round(100 * gain * metadata.get("DigitalGain", 1.0))
    return Photo(captured_ns, name, metadata.get("ExposureTime"), iso)


def find_tuning_file(name: str, platform: str, folders: Sequence[Path]) -> Path:
    """Return the path of libcamera's tuning file *name* for *platform* (vc4 or pisp); *name* may be a path itself."""
    candidates = [Path(name)] if "/" in name else [folder / platform / name for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    hint = f"Looked for {' and '.join(map(str, candidates))}"
    raise SourceError(f"There is no tuning file {name}", Cause.SETTINGS, hint, setting="csi.tuning_file", wanted=name)
