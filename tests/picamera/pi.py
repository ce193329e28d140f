"""A Pi with two cameras and a hardware encoder for tests, and a sink that keeps everything."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pi_memory import MemfdAllocator
from PIL import Image

from pi_cam_daemon.camera import csi
from pi_cam_daemon.camera.source import Command, Commands, Stop, TakeStill
from pi_cam_daemon.config.schema import CsiConfig, SmallConfig, VideoConfig
from pi_cam_daemon.config.text import Value
from pi_cam_daemon.errors import SourceError
from pi_cam_daemon.ipc.messages import CameraInfo, Report, SetControls, Still
from tests.kit.lateness import patience
from tests.kit.wait import until

SMALL = SmallConfig(width=320, framerate=20.0, quality=60)
IMX219, IMX708 = "/base/soc/i2c0mux/i2c@0/imx219@10", "/base/soc/i2c0mux/i2c@1/imx708@1a"


class EncoderNode:
    """/dev/video11 of the rig; rig/fakem2m.c documents the words in its file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.path = folder / "video11"
        self.set()

    def set(self, **words: object) -> None:
        """Give the node these faults, and end all others."""
        new = self.folder / "new"
        new.write_text(" ".join(f"{key}={value}" for key, value in words.items()))
        new.rename(self.path)

    def unplug(self) -> None:
        self.path.unlink()

    def log(self, word: str = "") -> list[str]:
        """Return the lines about what was done to the node that begin with *word*."""
        file = self.path.with_suffix(".log")
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(word)]


def video(**changes: Any) -> VideoConfig:
    values = {"width": 640, "height": 480, "framerate": 25.0, "rotation": 0, "hflip": False, "vflip": False}
    return VideoConfig(**{**values, "rotation_method": "pixels", "quality": 80, "overlay": "", "masks": [], **changes})


def source(
    camera: str = IMX219,
    allocator: Any = None,
    settings: Mapping[str, Value] | None = None,
    tuning_file: str = "",
    buffer_count: int = 4,
    small: SmallConfig = SMALL,
    **changes: Any,
) -> csi.CsiSource:
    """Return a source as the daemon makes it, but for its buffers; *changes* are to the video settings."""
    configured = CsiConfig(camera, tuning_file, buffer_count)
    return csi.CsiSource(video(**changes), configured, small, settings, allocator=allocator or MemfdAllocator())


class Recorder:
    """A sink that keeps everything, with the thread that runs the source into it."""

    def __init__(self, camera: csi.CsiSource) -> None:
        self.wanted = True
        self.passed_over = 0
        self.asks_small = False
        self.smalls: list[tuple[bytes, int]] = []
        self.events: list[Any] = []
        self.reports: list[Report] = []
        self.stills: list[Still] = []
        self.bad: list[str] = []  # what was wrong with pictures
        self.error: BaseException | None = None
        self.commands = Commands()
        self._camera = camera
        self._small_due = 0.0
        self.asks_looks = False
        self.looks: list[tuple[Any, int, tuple[float, ...]]] = []
        self._thread = threading.Thread(target=self._run, name="source")

    def opened(self, info: CameraInfo) -> None:
        self.events.append(info)

    def controls(self, report: Report) -> None:
        self.reports.append(report)

    def still(self, still: Still) -> None:
        self.stills.append(still)

    @property
    def small_wanted(self) -> bool:
        return self.asks_small and time.monotonic() >= self._small_due

    def claim_small(self) -> bool:
        due = self.small_wanted
        if due:
            now, period = time.monotonic(), 1 / SMALL.framerate
            self._small_due += period
            if self._small_due <= now:
                self._small_due = now + period
        return due

    def small(self, jpeg: bytes, captured_ns: int) -> None:
        if self.asks_small:
            self.smalls.append((bytes(jpeg), captured_ns))

    def claim_look(self) -> bool:
        return self.asks_looks

    def look(self, grey: Any, captured_ns: int, facts: tuple[float, ...]) -> None:
        self.looks.append((grey, captured_ns, facts))

    @property
    def quiet_seconds(self) -> float:
        return 0.0 if self.wanted else 0.1

    def passed(self, count: int = 1) -> None:
        self.passed_over += count

    def unusable(self, why: str) -> None:
        self.bad.append(why)

    def frame(self, jpeg: bytes | memoryview, captured_ns: int) -> None:
        self.events.append((bytes(jpeg), captured_ns, time.monotonic_ns()))

    @property
    def info(self) -> CameraInfo:
        assert isinstance(self.events[0], CameraInfo), "a frame before the announcement"
        return self.events[0]

    @property
    def frames(self) -> list[tuple[bytes, int, int]]:
        return self.events[1:]

    def until(self, what: str, condition: Any, seconds: float = 10.0) -> None:
        """Wait for *condition*; fail at once when the source ends."""
        until(what, lambda: condition() or not self._thread.is_alive(), seconds)
        assert self.error is None, repr(self.error)
        assert self._thread.is_alive(), "the source has ended"

    def wait_for(self, frames: int) -> None:
        self.until(f"{frames} frames", lambda: len(self.frames) >= frames)

    def wait_for_more(self, frames: int = 5) -> None:
        """Wait for so many frames from now on."""
        self.wait_for(len(self.frames) + frames)

    def ask_small(self, frames: int = 5) -> list[tuple[bytes, int]]:
        """Ask for small frames from now on; return so many."""
        before, self.asks_small = len(self.smalls), True
        self.until(f"{frames} small frames", lambda: len(self.smalls) >= before + frames)
        return self.smalls[before:]

    def set(self, **values: Value) -> Report:
        """Set controls; return the answer."""
        return self._asked(SetControls(len(self.reports), values), self.reports)

    def take_still(self, seconds: float = 10.0) -> Still:
        return self._asked(TakeStill(len(self.stills) + 1), self.stills, seconds)

    def _asked(self, command: Command, answers: list[Any], seconds: float = 10.0) -> Any:
        before = len(answers)
        self.commands.put(command)
        self.until(f"an answer to {command}", lambda: len(answers) > before, seconds)
        return answers[-1]

    def start(self) -> None:
        self._thread.start()

    def ended(self, seconds: float = 10.0) -> BaseException | None:
        """Wait for the source's end; return its error."""
        self._thread.join(patience(seconds))
        assert not self._thread.is_alive()
        return self.error

    def stop(self) -> float:
        """Stop the source; return the seconds that this took."""
        begun = time.monotonic()
        self.commands.put(Stop())
        self.ended()
        return time.monotonic() - begun

    def _run(self) -> None:
        try:
            self._camera.run(self, self.commands)
        except BaseException as error:  # noqa: BLE001 - for the thread that asks
            self.error = error


@contextlib.contextmanager
def running(camera: csi.CsiSource) -> Iterator[Recorder]:
    recorder = Recorder(camera)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()
    assert recorder.error is None, repr(recorder.error)


def failure(camera: csi.CsiSource) -> SourceError:
    """Return the SourceError with which *camera* ends by itself."""
    recorder = Recorder(camera)
    recorder.start()
    error = recorder.ended()
    assert isinstance(error, SourceError), repr(error)
    return error


def picture(jpeg: bytes) -> Image.Image:
    """Return the decoded picture; an error if it is not whole."""
    decoded = Image.open(io.BytesIO(jpeg))
    decoded.load()
    return decoded


def grey(jpeg: bytes) -> npt.NDArray[np.int_]:
    return np.asarray(picture(jpeg).convert("L"), dtype=int)
