"""Run a source as its process does, and test the contract of all sources with any camera.

A source joins by a subclass of SourceContract, or of LosableSourceContract if its camera can go away.
"""

import abc
import io
import itertools
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from pi_cam_daemon.camera.source import Commands, Source, Stop, TakeStill
from pi_cam_daemon.config.schema import SmallConfig, VideoConfig
from pi_cam_daemon.errors import SourceError
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.ipc.messages import CameraInfo, Report, Still
from tests.kit.lateness import patience
from tests.kit.wait import until

SMALL = SmallConfig(width=80, framerate=10.0, quality=60)


def video(width: int = 160, height: int = 120, framerate: float = 50.0, **other: Any) -> VideoConfig:
    upright = {"rotation": 0, "rotation_method": "pixels", "overlay": "", "masks": [], "hflip": False, "vflip": False}
    return VideoConfig(**{"width": width, "height": height, "framerate": framerate, "quality": 80, **upright, **other})


class Run:
    """A run of a source in its own thread, with everything that it delivered, in order."""

    def __init__(self, source: Source, dawdle: float = 0.0) -> None:
        self.delivered: list[CameraInfo | tuple[bytes, int]] = []
        self.reports: list[Report] = []
        self.stills: list[Still] = []
        self.wanted = True
        self.small_wanted = False
        self.smalls: list[tuple[bytes, int]] = []
        self.look_wanted = False
        self.looks: list[tuple[npt.NDArray[np.uint8], int, tuple[float, ...]]] = []
        self.quiet = 0.1  # seconds between two frames while none is wanted
        self.passed_over = 0
        self.complaints: list[str] = []
        self.error: BaseException | None = None
        self.commands: Commands = queue.SimpleQueue()
        self._source = source
        self._dawdle = dawdle
        self._changed = threading.Condition()
        self.thread = threading.Thread(target=self._main, name="source under test", daemon=True)

    def opened(self, info: CameraInfo) -> None:
        self._add(info)

    def controls(self, report: Report) -> None:
        with self._changed:
            self.reports.append(report)
            self._changed.notify_all()

    def still(self, still: Still) -> None:
        with self._changed:
            self.stills.append(still)
            self._changed.notify_all()

    def frame(self, data: bytes | memoryview, captured_ns: int) -> None:
        self._add((bytes(data), captured_ns))
        if len(self.frames) == 1:
            time.sleep(self._dawdle)

    def claim_small(self) -> bool:
        return self.small_wanted

    def small(self, jpeg: bytes, captured_ns: int) -> None:
        with self._changed:
            self.smalls.append((jpeg, captured_ns))
            self._changed.notify_all()

    def claim_look(self) -> bool:
        return self.look_wanted

    def look(self, grey: npt.NDArray[np.uint8], captured_ns: int, facts: tuple[float, ...]) -> None:
        with self._changed:
            self.looks.append((grey, captured_ns, facts))
            self._changed.notify_all()

    @property
    def quiet_seconds(self) -> float:
        return 0.0 if self.wanted or self.small_wanted or self.look_wanted else self.quiet

    def passed(self, count: int = 1) -> None:
        with self._changed:
            self.passed_over += count
            self._changed.notify_all()

    def unusable(self, why: str) -> None:
        with self._changed:
            self.complaints.append(why)
            self._changed.notify_all()

    @property
    def frames(self) -> list[tuple[bytes, int]]:
        return [item for item in list(self.delivered) if not isinstance(item, CameraInfo)]

    @property
    def info(self) -> CameraInfo:
        first = self.delivered[0]
        assert isinstance(first, CameraInfo), "a frame came before opened()"
        return first

    def wait_for_frames(self, count: int) -> list[tuple[bytes, int]]:
        with self._changed:
            arrived = self._changed.wait_for(lambda: self.error or len(self.frames) >= count, patience(10))
        if self.error:
            raise self.error
        assert arrived, f"{len(self.frames)} of {count} frames"
        return self.frames[:count]

    def wait_for_looks(self, count: int) -> list[tuple[npt.NDArray[np.uint8], int, tuple[float, ...]]]:
        """Want looks and return the next *count* ones."""
        before, self.look_wanted = len(self.looks), True
        self.commands.put(None)
        until(f"{count} looks", lambda: self.error or len(self.looks) >= before + count, 10)
        if self.error:
            raise self.error
        return self.looks[before : before + count]

    def wait_for_smalls(self, count: int) -> list[tuple[bytes, int]]:
        """Want small frames and return the next *count* ones."""
        before, self.small_wanted = len(self.smalls), True
        self.commands.put(None)
        with self._changed:
            arrived = self._changed.wait_for(lambda: self.error or len(self.smalls) >= before + count, patience(10))
        if self.error:
            raise self.error
        assert arrived, f"{len(self.smalls) - before} of {count} small frames"
        return self.smalls[before : before + count]

    def take_still(self, number: int) -> Still:
        """Order a still and return the answer."""
        count = len(self.stills)
        self.commands.put(TakeStill(number))
        with self._changed:
            arrived = self._changed.wait_for(lambda: self.error or len(self.stills) > count, patience(10))
        if self.error:
            raise self.error
        assert arrived, "no still"
        return self.stills[-1]

    def is_quiet_for(self, seconds: float) -> bool:
        with self._changed:
            count = len(self.delivered)
            return not self._changed.wait_for(lambda: len(self.delivered) > count, seconds)

    def stop(self) -> float:
        """Tell the source to stop; return the seconds that it took."""
        start = time.monotonic()
        self.commands.put(Stop())
        self.thread.join(patience(10))
        assert not self.thread.is_alive(), "it does not stop"
        return time.monotonic() - start

    def _add(self, item: CameraInfo | tuple[bytes, int]) -> None:
        with self._changed:
            self.delivered.append(item)
            self._changed.notify_all()

    def _main(self) -> None:
        try:
            self._source.run(self, self.commands)
        except BaseException as error:  # noqa: BLE001 - the top of a thread; wait_for_frames raises it again
            with self._changed:
                self.error = error
                self._changed.notify_all()


@contextmanager
def running(source: Source, dawdle: float = 0.0) -> Iterator[Run]:
    run = Run(source, dawdle)
    run.thread.start()
    try:
        yield run
    finally:
        run.stop()


def decoded(data: bytes) -> npt.NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.astype(np.uint8)


class SourceContract(abc.ABC):
    @abc.abstractmethod
    def make(self, settings: VideoConfig) -> Source:
        """Return a source with these settings whose camera is present."""

    def test_opens_once_and_before_its_first_frame(self) -> None:
        with running(self.make(video())) as run:
            run.wait_for_frames(3)
        assert [type(item) for item in run.delivered].index(CameraInfo) == 0
        assert sum(isinstance(item, CameraInfo) for item in run.delivered) == 1

    def test_delivers_whole_jpegs_of_the_size_it_announced(self) -> None:
        with running(self.make(video())) as run:
            frames = run.wait_for_frames(5)
        for data, _ in frames:
            assert type(data) is bytes
            jpeg.check(data)
            assert jpeg.size(data) == (run.info.width, run.info.height)
            assert decoded(data).shape == (run.info.height, run.info.width, 3)

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"rotation": 90},
            {"rotation": 180, "hflip": True},
            {"rotation": 270, "vflip": True, "rotation_method": "exif"},
            {"overlay": "MMMM"},
        ],
        ids=str,
    )
    def test_small_pictures_show_what_the_big_ones_show(self, changes: dict[str, Any]) -> None:
        with running(self.make(video(**changes))) as run:
            run.wait_for_frames(3)
            assert not run.smalls, "nobody wants them"
            small, captured_ns = run.wait_for_smalls(2)[-1]
            until("the same picture in both sizes", lambda: captured_ns in [at for _, at in run.frames])
        big = next(data for data, at in run.frames if at == captured_ns)
        jpeg.check(small)
        width, height = jpeg.size(big)
        assert jpeg.size(small) == (width // 2, height // 2)
        marks = [Image.open(io.BytesIO(data)).getexif().get(0x0112, 1) for data in (big, small)]
        assert marks[0] == marks[1]
        grey, wanted = (cv2.cvtColor(decoded(data), cv2.COLOR_BGR2GRAY) for data in (small, big))
        wanted = cv2.resize(wanted, grey.shape[::-1], interpolation=cv2.INTER_AREA)
        below = len(grey) // 2 if "overlay" in changes else 0  # raw pictures have text that fits the small one
        assert np.abs(grey[below:].astype(int) - wanted[below:]).mean() < 10

    @pytest.mark.parametrize(
        "turn", [{}, {"rotation": 90}, {"rotation": 180, "hflip": True, "rotation_method": "exif"}], ids=str
    )
    def test_every_picture_has_its_masks(self, turn: dict[str, Any]) -> None:
        masks = [[0.3, 0.3, 0.4, 0.4]]
        with running(self.make(video(masks=masks, **turn))) as run:
            big = run.wait_for_frames(5)
            small = run.wait_for_smalls(2)
            still = run.take_still(1)
        brightest = 0.0
        for data in [*(data for data, _ in big + small), still.jpeg]:
            pixels = decoded(data)
            height, width = pixels.shape[:2]
            inside = pixels[height * 3 // 10 + 2 : height * 7 // 10 - 2, width * 3 // 10 + 2 : width * 7 // 10 - 2]
            assert inside.mean() < 12
            brightest = max(brightest, float(pixels.mean()))
        assert brightest > 20, "the rest is there"

    def test_small_pictures_come_while_nobody_wants_big_ones(self) -> None:
        with running(self.make(video())) as run:
            run.wait_for_frames(1)
            run.wanted = False
            times = [captured_ns for _, captured_ns in run.wait_for_smalls(5)]
            run.small_wanted = False
        assert times == sorted(set(times))

    @pytest.mark.parametrize(
        "changes",
        [{}, {"rotation": 90}, {"rotation": 180, "hflip": True}, {"rotation": 270, "vflip": True}],
        ids=str,
    )
    @pytest.mark.parametrize("method", ["pixels", "exif"])
    def test_looks_are_of_the_upright_picture(self, changes: dict[str, Any], method: str) -> None:
        with running(self.make(video(640, 480, rotation_method=method, **changes))) as run:
            run.wait_for_frames(3)
            assert not run.looks, "nobody wants them"
            grey, captured_ns, _ = run.wait_for_looks(2)[-1]
            until("the same picture in both sizes", lambda: captured_ns in [at for _, at in run.frames])
        big = Image.open(io.BytesIO(next(data for data, at in run.frames if at == captured_ns)))
        upright = ImageOps.exif_transpose(big).convert("L")
        assert max(grey.shape) <= 160
        assert grey.shape[0] / grey.shape[1] == pytest.approx(upright.height / upright.width, rel=0.02)
        wanted = cv2.resize(np.asarray(upright), grey.shape[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(grey.astype(int) - wanted).mean() < 6

    def test_looks_come_while_nobody_wants_pictures(self) -> None:
        with running(self.make(video())) as run:
            run.wait_for_frames(1)
            run.wanted = False
            times = [captured_ns for _, captured_ns, _ in run.wait_for_looks(5)]
            run.look_wanted = False
        assert times == sorted(set(times))

    def test_says_which_camera_it_is(self) -> None:
        with running(self.make(video())) as run:
            run.wait_for_frames(1)
        assert all((run.info.kind, run.info.name, run.info.pixel_format, run.info.encoder))
        assert run.info.framerate > 0

    def test_capture_times_rise_and_are_of_this_run(self) -> None:
        before = time.monotonic_ns()
        with running(self.make(video())) as run:
            times = [captured_ns for _, captured_ns in run.wait_for_frames(10)]
        assert before <= times[0]
        assert all(earlier < later for earlier, later in itertools.pairwise(times))
        assert times[-1] <= time.monotonic_ns()

    def test_stops_within_a_second(self) -> None:
        with running(self.make(video())) as run:
            run.wait_for_frames(1)
            assert run.stop() < patience(1)
        assert run.error is None

    def test_an_early_stop_is_obeyed(self) -> None:
        run = Run(self.make(video()))
        run.commands.put(Stop())
        run.thread.start()
        run.thread.join(patience(10))
        assert not run.thread.is_alive()
        assert run.error is None

    def test_delivers_nothing_after_returning(self) -> None:
        with running(self.make(video())) as run:
            run.wait_for_frames(2)
            run.stop()
            assert run.is_quiet_for(0.2)

    @pytest.mark.parametrize("method", ["pixels", "exif"])
    def test_a_still_is_as_large_and_turned_as_the_stream_and_has_its_time(self, method: str) -> None:
        with running(self.make(video(rotation=90, rotation_method=method))) as run:
            run.wait_for_frames(2)
            run.wanted = False  # a still is wanted all the same
            before = time.monotonic_ns()
            still = run.take_still(3)
            run.wanted = True
            count = len(run.frames)
            run.wait_for_frames(count + 3)
            stream = Image.open(io.BytesIO(run.frames[-1][0]))
        assert (still.number, still.refused) == (3, "")
        assert before < still.captured_ns <= time.monotonic_ns()
        jpeg.check(still.jpeg)
        picture = Image.open(io.BytesIO(still.jpeg))
        assert picture.width >= stream.width and picture.height >= stream.height
        assert (picture.width > picture.height) == (stream.width > stream.height)
        orientation = {"pixels": 1, "exif": 6}[method]
        assert picture.getexif()[0x0112] == orientation == stream.getexif().get(0x0112, 1)
        assert 0x9003 in picture.getexif().get_ifd(0x8769)
        times = [captured_ns for _, captured_ns in run.frames]
        assert times == sorted(set(times))

    def test_can_run_again(self) -> None:
        source = self.make(video())
        for _ in range(2):
            with running(source) as run:
                run.wait_for_frames(2)
            assert run.error is None


class LosableSourceContract(SourceContract):
    @abc.abstractmethod
    def lose(self) -> None:
        """Take the camera away from the running source."""

    def test_a_lost_camera_ends_the_run_with_a_source_error(self) -> None:
        with running(self.make(video())) as run:
            run.wait_for_frames(1)
            self.lose()
            run.thread.join(patience(10))
            assert isinstance(run.error, SourceError)
            assert run.error.message
