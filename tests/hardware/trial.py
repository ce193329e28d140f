"""The steps of a trial. Each starts daemons of its own and asks them over HTTP, as anybody does."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi_cam_daemon.camera.csi_bitrate import SETTLING_PICTURES, wanted_bytes
from pi_cam_daemon.config import kinds
from pi_cam_daemon.imaging import jpeg
from tests.bench import meter
from tests.hardware import machine
from tests.hardware.report import Report, Result, Results
from tests.kit.daemon import Daemon
from tests.kit.wire import Part, Reading, Viewer

# a camera that wakes up for a still gets as long
_START_SECONDS = 15.0
_NO_CAMERA_SECONDS = 45.0  # a Zero 2 W with a slow SD card has its picture by then, or there is no camera
# the default of source.stall_timeout_seconds, SIGKILL a second after SIGTERM, and the supervisor's look each second
_STALL_SECONDS, _KILL_SECONDS, _LOOK_SECONDS = 5.0, 1.0, 1.0
# a camera process that gave pictures for longer is started again without a wait
_LASTED_SECONDS = 6.0
_DAEMON_STOP_SECONDS = 8.0
_LOG_LINES = 40
_POLL_SECONDS = 0.01
_HD = {"video.width": 1280, "video.height": 720}
_VARIANTS: Sequence[tuple[str, Mapping[str, object]]] = (
    ("1 viewer", {}),
    ("the same with an overlay", {"video.overlay": "{time} {host} {rate}"}),
    ("the same turned by 90", {"video.rotation": 90}),
    ("the same turned by 180", {"video.rotation": 180}),
)
_HELD = 0.95
_SMALL_RATE = 10.0  # the default of small.framerate
_AIM_TOLERANCE = 0.6, 1.6
_STILL_SECONDS = 70.0
_PACE = "The stream comes first"  # how the daemon begins when the next still may only be taken later
_EXPOSURE_AND_ISO = b"\x82\x9a\x00\x05", b"\x88\x27\x00\x03"  # tag and type in Exif


@dataclass(frozen=True)
class Depth:
    """The length of a trial: numbers of repetitions, and seconds of each measurement and of the wait before it."""

    starts: int
    stills: int
    variants: int
    sizes: Sequence[tuple[int, int]]
    qualities: Sequence[int]
    seconds: float
    settle_seconds: float


FULL = Depth(20, 100, len(_VARIANTS), ((640, 480), (1280, 720), (1920, 1080)), (50, 80, 95), 8.0, 4.0)
QUICK = Depth(2, 2, 2, ((640, 480),), (50, 95), 2.0, 1.0)


class Trial:
    """All steps. *argv* runs a daemon with the configuration file that follows; *settings* are for each of them."""

    def __init__(
        self, report: Report, folder: Path, depth: Depth, argv: Sequence[str], settings: Mapping[str, object]
    ) -> None:
        self._report, self._folder, self._depth, self._argv = report, folder, depth, argv
        self._settings = {"source.kind": "csi", **settings}
        self._started = 0

    @contextlib.contextmanager
    def _daemon(self, settings: Mapping[str, object]) -> Iterator[Daemon]:
        """Run a daemon as long as the block lasts. The end of its log goes into the report if the block fails."""
        self._started += 1
        folder = self._folder / f"daemon{self._started}"
        folder.mkdir()
        daemon = Daemon(folder, {**self._settings, **settings}, argv=self._argv)
        try:
            yield daemon
        except BaseException:
            self._report.text("the end of the daemon's log", "\n".join(daemon.log().splitlines()[-_LOG_LINES:]))
            raise
        finally:
            try:
                if daemon.process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        daemon.stop(_DAEMON_STOP_SECONDS)
            finally:
                daemon.close()

    @contextlib.contextmanager
    def _watched(self, settings: Mapping[str, object]) -> Iterator[tuple[Daemon, Viewer]]:
        """Run a daemon with a viewer, which has seen a first picture and then the settling of the camera."""
        with self._daemon(settings) as daemon, closing(daemon.watch()) as viewer:
            live(viewer)
            watch_for(viewer, self._depth.settle_seconds)
            yield daemon, viewer

    # -- start and end

    def starts_and_stops(self, seconds: float) -> Results:
        """Start and stop as often as *seconds* allow."""
        log = ""
        starts: list[float] = []
        cameras: list[float] = []
        stops: list[float] = []
        limit, late = kinds.of("csi").stop_seconds, time.monotonic() + seconds
        while len(starts) < self._depth.starts and (not starts or time.monotonic() < late):
            begun = time.monotonic()
            with self._daemon({}) as daemon:
                with closing(daemon.watch()) as viewer:
                    part = live(viewer)
                    starts.append(time.monotonic() - begun)
                state = daemon.state()
                if len(starts) == 1:
                    limit = kinds.of(state["source"]["kind"]).stop_seconds
                    yield from _first_picture(state, part)
                begun = time.monotonic()
                daemon.process.send_signal(signal.SIGTERM)
                process = Path("/proc", str(state["camera_process"]["pid"]))
                while process.exists():
                    time.sleep(_POLL_SECONDS)
                cameras.append(time.monotonic() - begun)
                status = daemon.process.wait(_DAEMON_STOP_SECONDS)
                stops.append(time.monotonic() - begun)
                log = log or daemon.log()
                if status:
                    yield Result("stop", f"exit status {status}", "0", ok=False)
        enough = f"at most {_START_SECONDS:.0f} s"
        yield Result("start to the first picture", _spread(starts), enough, max(starts) <= _START_SECONDS)
        # SIGKILL comes after this time, and not before
        gentle = sum(camera < limit for camera in cameras)
        expected = f"all, each below {limit:g} s"
        value = f"{gentle} of {len(cameras)} (camera process: {_spread(cameras)})"
        yield Result("stop without SIGKILL", value, expected, gentle == len(cameras))
        enough = f"at most {_DAEMON_STOP_SECONDS:.0f} s"
        yield Result("stop of the whole daemon", _spread(stops), enough, max(stops) <= _DAEMON_STOP_SECONDS)
        self._report.text("log of the first daemon", log)

    def recovery(self) -> Results:
        """Kill the camera process, then stop it, under a viewer who stays connected."""
        again = _START_SECONDS + _LOOK_SECONDS
        hanging = _STALL_SECONDS + _KILL_SECONDS + again
        with self._watched({}) as (daemon, viewer):
            for number, limit in ((signal.SIGKILL, again), (signal.SIGSTOP, hanging)):
                watch_for(viewer, _LASTED_SECONDS)
                pid = daemon.camera_pid()
                killed, begun = time.time(), time.monotonic()
                os.kill(pid, number)
                live(viewer, killed)
                took = time.monotonic() - begun
                name = f"the next picture after {number.name} of the camera process, on the same connection"
                yield Result(name, f"{took:.1f} s", f"at most {limit:.0f} s", took <= limit)

    # -- processor time

    def load(self) -> Results:
        """Measure one viewer, nobody, and what turning and drawing costs; at 1280x720 unless the settings differ."""
        for name, settings in _VARIANTS[: self._depth.variants]:
            with self._watched({**_HD, **self._settings, **settings}) as (daemon, viewer):
                camera = daemon.state()["camera"]
                framerate, size = camera["framerate"], f"{camera['width']}x{camera['height']}"
                spent = _Spent(daemon.process.pid)
                pictures = watch_for(viewer, self._depth.seconds)
                spent.stop()
                rate = pictures / spent.seconds
                yield Result(name, f"{rate:.1f} frames/s of {size}", f"{framerate:g}", rate >= _HELD * framerate)
                expected, kept = f"each below {1000 / framerate:.0f} ms", spent.most * framerate < pictures
                yield Result(f"CPU of {name}", spent.per_picture(pictures), expected, kept)
                if not settings:
                    memory = [meter.resident_mb(pid) for pid in meter.family(daemon.process.pid)]
                    value = " and ".join(f"{megabytes:.0f} MB" for megabytes in memory)
                    yield Result("memory of server and camera process", value, "room on a board of 512 MB")
                    viewer.close()
                    yield self._nobody(daemon, spent)
                    yield from self._small(daemon, framerate)

    def _nobody(self, daemon: Daemon, watched: _Spent) -> Result:
        time.sleep(self._depth.settle_seconds)
        alone = _Spent(daemon.process.pid)
        time.sleep(self._depth.seconds)
        alone.stop()
        expected = f"less than with a viewer: {watched.percent}"
        return Result("CPU while nobody watches", alone.percent, expected, alone.all < watched.all)

    def _small(self, daemon: Daemon, framerate: float) -> Results:
        """Measure one viewer of small pictures, and the rate of the camera meanwhile."""
        with closing(daemon.watch("/stream?size=small")) as viewer:
            live(viewer)
            watch_for(viewer, self._depth.settle_seconds)
            spent = _Spent(daemon.process.pid)
            seen = pictures_for(viewer, self._depth.seconds)
            spent.stop()
            camera = daemon.state()["frames"]["rate"]
        rate, (width, height) = len(seen) / spent.seconds, seen[-1].size
        megabits = sum(len(part.jpeg) for part in seen) * 8e-6 / spent.seconds
        value = f"{rate:.1f} frames/s of {width}x{height}, {megabits:.2f} Mbit/s"
        yield Result(
            "1 viewer of small pictures", value, f"{_SMALL_RATE:g}", rate >= _HELD * min(_SMALL_RATE, framerate)
        )
        yield Result("CPU of 1 viewer of small pictures", spent.per_picture(len(seen)), "about 10 ms on a Zero 2 W")
        name, kept = "the camera meanwhile", camera >= _HELD * framerate
        yield Result(name, f"{camera:.1f} frames/s", f"{framerate:g}", kept)

    # -- pictures

    def qualities(self) -> Results:
        """Compare the pictures' bytes with those of the software encoder at the same quality."""
        for width, height in self._depth.sizes:
            sizes: list[float] = []
            for quality in self._depth.qualities:
                settings = {"video.width": width, "video.height": height, "video.quality": quality}
                with self._watched(settings) as (daemon, viewer):
                    encoder = daemon.state()["camera"]["encoder"]
                    if "hardware" in encoder:  # its quality moves by one step for each picture
                        viewer.parts(SETTLING_PICTURES)
                    seen = pictures_for(viewer, self._depth.seconds / 2)
                sizes.append(statistics.median(len(part.jpeg) for part in seen))
                real = seen[-1].size
                aim = wanted_bytes(*real, quality)
                low, high = (aim * part for part in _AIM_TOLERANCE)
                yield Result(
                    f"video.quality {quality} at {real[0]}x{real[1]}",
                    f"{sizes[-1] / 1000:.1f} kB a picture",
                    f"about {aim / 1000:.0f} kB for a photo, {low / 1000:.0f} to {high / 1000:.0f}",
                    # the software encoder obeys the quality, so its size depends on what the camera sees
                    low <= sizes[-1] <= high if "hardware" in encoder else None,
                )
            names = " < ".join(f"q{quality}" for quality in self._depth.qualities)
            grows = all(small < large for small, large in itertools.pairwise(sizes))
            kilobytes = " ".join(f"{size / 1000:.1f}" for size in sizes)
            yield Result(f"bytes by quality, asked for {width}x{height}", kilobytes, names, grows)

    def controls(self) -> Results:
        """Set each control to its limits, and back to its default."""
        with self._watched({}) as (daemon, viewer):
            pid = daemon.camera_pid()
            offered: dict[str, dict[str, Any]] = json.loads(daemon.get("/controls")[2])["controls"]
            asked, refused = 0, []
            for name, control in offered.items():
                for value in _values(control):
                    status, _, body = daemon.post("/controls", json.dumps({name: value}).encode())
                    asked += 1
                    if status != 200:
                        refused.append(f"{name} = {json.dumps(value)}: {status} {_problem(body, name)}")
            live(viewer, time.time())
            same = daemon.camera_pid() == pid
        value = _counted(f"{asked - len(refused)} of {asked}", refused)
        yield Result(f"values of {len(offered)} controls that the camera takes", value, "all", not refused)
        yield Result("the camera process after these", "the same" if same else "another", "the same", same)
        lines = [f"{name}: {json.dumps(control)}" for name, control in offered.items()]
        self._report.text("controls, as offered", "\n".join(lines) or "none")

    def stills(self, late: float) -> Results:
        """Take stills at the pace that the daemon allows, until all are taken or the time *late* (CLOCK_MONOTONIC)."""
        before, lowest = machine.cma(), machine.LowestCma()
        with self._daemon({}) as daemon, lowest.watched():
            with closing(daemon.watch()) as viewer:
                live(viewer)
                watch_for(viewer, self._depth.settle_seconds)
                pid = daemon.camera_pid()
                yield from _first_still(daemon, viewer)
            times: list[float] = []
            refusals: list[str] = []
            row = worst = 0  # refusals, one after the other
            while 1 + len(times) + len(refusals) < self._depth.stills and time.monotonic() < late:
                begun = time.monotonic()
                status, headers, body = daemon.get("/still.jpg", _STILL_SECONDS)
                if status == 503 and body.startswith(_PACE.encode()):
                    time.sleep(float(headers["retry-after"]))
                elif status == 200:
                    times.append(time.monotonic() - begun)
                    row = 0
                else:
                    refusals.append(f"{status} {body.decode('utf-8', 'replace')}")
                    row += 1
                    worst = max(worst, row)
            same = daemon.camera_pid() == pid
            after = machine.cma()
        asked = 1 + len(times) + len(refusals)
        value = _counted(f"{len(refusals)} of {asked}, {worst} in a row", refusals)
        yield Result("stills refused", value, "never 2 in a row", worst < 2)
        if asked < self._depth.stills:
            name = f"stills within the time, of {self._depth.stills}"
            yield Result(name, str(asked), f"{self._depth.stills} with a larger --minutes")
        if times:
            yield Result("time of a still", _spread(times), "a few seconds")
        yield Result("the camera process after the stills", "the same" if same else "another", "the same", same)
        expected = "about the same before and after"
        if total := machine.cma("CmaTotal"):
            value = f"{before:.0f} MB before, {lowest.megabytes:.0f} at least, {after:.0f} after"
            yield Result(f"free CMA of {total:.0f} MB", value, expected)
        else:
            yield Result("free CMA", "this kernel has no CMA", expected)


class _Spent:
    """The processor time of a daemon's processes, from here to `stop`."""

    def __init__(self, pid: int) -> None:
        self._pid, self._before = pid, meter.read(pid)

    def stop(self) -> None:
        after = meter.read(self._pid)
        self.seconds = after.at - self._before.at
        self.all = meter.cpu_between(self._before, after)
        self.server = meter.cpu_between(self._before, after, self._pid)
        self.most = max(self.server, self.all - self.server)

    @property
    def percent(self) -> str:
        server, camera = (100 * spent / self.seconds for spent in (self.server, self.all - self.server))
        return f"server {server:.1f} % of a core, camera process {camera:.1f} %"

    def per_picture(self, pictures: int) -> str:
        server, camera = (1000 * spent / max(pictures, 1) for spent in (self.server, self.all - self.server))
        return f"server {server:.2f} ms a picture, camera process {camera:.2f} ms ({self.percent})"


def live(viewer: Viewer, since: float = 0.0) -> Part:
    """Read on to a picture of the camera that was taken after *since* (Unix time), and return it.

    Raises TimeoutError if there is none in time.
    """
    late = time.monotonic() + _NO_CAMERA_SECONDS
    while True:
        part = viewer.part()
        if b"X-No-Picture" not in part.header and part.timestamp > since:
            return part
        if part.arrived > late:
            raise TimeoutError(f"the camera gives no picture within {_NO_CAMERA_SECONDS:.0f} s")


def pictures_for(viewer: Viewer, seconds: float) -> list[Part]:
    """Return the pictures of the next *seconds*, at least one."""
    ended = time.monotonic() + seconds
    seen = [viewer.part()]
    while seen[-1].arrived < ended:
        seen.append(viewer.part())
    return seen


def watch_for(viewer: Viewer, seconds: float) -> int:
    """Read the pictures of the next *seconds* and return their number, at least one."""
    ended, count = time.monotonic() + seconds, 1
    while viewer.part().arrived < ended:
        count += 1
    return count


def _first_picture(state: Mapping[str, Any], part: Part) -> Results:
    camera = state["camera"]
    value = "{name}, {width}x{height} at {framerate:g} frames/s, {pixel_format}".format(**camera)
    yield Result("camera", value, "the camera that is connected")
    wanted, encoder = machine.expected_encoder(state["source"]["kind"]), camera["encoder"]
    ok = encoder == wanted if wanted else None
    yield Result("encoder", encoder, wanted or "that of the kind of camera", ok)
    tables = b"\xff\xc4" in part.jpeg
    value = "there" if tables else "missing"
    yield Result("Huffman tables in a picture", value, "there: no browser shows it otherwise", tables)


def _first_still(daemon: Daemon, viewer: Viewer) -> Results:
    """Take a still while somebody watches."""
    reading = Reading(viewer)
    status, _, body = daemon.get("/still.jpg", _STILL_SECONDS)
    time.sleep(1.0)
    times = [part.arrived for part in reading.finish()]
    longest = max(after - before for before, after in itertools.pairwise(times))
    value = "{}x{}".format(*jpeg.size(body)) if status == 200 else f"{status} {body.decode('utf-8', 'replace')}"
    yield Result("size of the first still", value, "that of the largest sensor mode", None if status == 200 else False)
    yield Result("the stream stands meanwhile", f"{longest:.1f} s", "a few seconds")
    there = all(tag in body[:2000] for tag in _EXPOSURE_AND_ISO)
    wanted = machine.expected_encoder(daemon.state()["source"]["kind"])
    ok = there or (False if wanted else None)
    yield Result("exposure time and ISO in its Exif", "there" if there else "missing", "there, of a CSI camera", ok)


def _values(control: Mapping[str, Any]) -> list[Any]:
    """Return the values to try of a control in /controls, its default (None) last.

    An action has none: it may work in one mode of the camera only.
    """
    match control["kind"]:
        case "action":
            return []
        case "boolean":
            return [True, False, None]
        case "choice":
            return [*control["choices"], None]
        case "rectangle":
            return [[0.25, 0.25, 0.5, 0.5], None]
    return [control["minimum"], control["maximum"], None]


def _problem(body: bytes, name: str) -> str:
    """Return why the control *name* was refused, from the answer's *body*: JSON, or a text."""
    with contextlib.suppress(ValueError, LookupError):
        return str(json.loads(body)["errors"][name])
    return body.decode("utf-8", "replace")


def _counted(count: str, problems: Sequence[str]) -> str:
    """Return *count*, and behind it each of the *problems* once."""
    return ": ".join(filter(None, (count, " / ".join(dict.fromkeys(problems)))))


def _spread(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s of {len(seconds)}"
