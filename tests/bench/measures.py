"""The measurements, one function each; every function yields figures."""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import frames, load, meter
from tests.bench.figures import Figure
from tests.bench.load import Load
from tests.bench.servers import FRAMERATE, ROOT, SERVER_CPU, Pictures, Rig, Server, lift

VIEWERS = (1, 10, 50, 300, 1000)
FEW = (1, 10)
DAEMON, USTREAMER, FLOOR, SPYGLASS = "daemon", "µStreamer", "C floor", "spyglass"
# a rate that is held: what the edges of a measurement cost is no missed frame
HELD_FPS = 29.5
_WATCHERS = 20
_MANY = 50
_SMALL_SECONDS = 10.0  # so that one picture at an edge is one in a hundred
_MASKS = [[0.1, 0.2, 0.3, 0.4], [0.7, 0.7, 0.2, 0.25]]
_OVERLAY = "{time} {host} {rate}"
_SNAPSHOT_SECONDS = 10.0  # between two, while nobody watches
# slow viewers of the largest pictures; they come so far apart that each one keeps another picture
_SLOW, _SLOW_ARRIVALS = 24, 20
# glibc's allocator then gives no memory back to the system between two pictures
_KEPT = {"MALLOC_TRIM_THRESHOLD_": str(32 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
_PENDING_BYTES = 64 << 20  # the default of http.max_pending_bytes
# a camera's first pictures, and the interpreter's first time through the code, are no steady state
_WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Depth:
    """The length of a run: *rounds* of all servers in turn, *seconds* each, *idle_seconds* for an idle server."""

    rounds: int
    seconds: float
    idle_seconds: float
    starts: int


QUICK = Depth(rounds=2, seconds=2.0, idle_seconds=10.0, starts=5)
FULL = Depth(rounds=5, seconds=4.0, idle_seconds=30.0, starts=15)

Runs = dict[str, dict[int, list[Load]]]
Start = Callable[[Pictures], AbstractContextManager[Server]]


class Bench:
    """All measurements on one *rig*. Pictures are kept in *cache*; *flaws* collects errors that no run may have."""

    def __init__(self, rig: Rig, cache: Path, depth: Depth, say: Callable[[str], None]) -> None:
        self.flaws: list[str] = []
        self._rig = rig
        self._depth = depth
        self._say = say
        self._hd = Pictures(frames.folder(cache, 1280, 720, 60_000), 1280, 720)
        self._hd_at_3_mb = Pictures(frames.folder(cache, 1280, 720, 100_000), 1280, 720)
        self._full_hd = Pictures(frames.folder(cache, 1920, 1080, 150_000), 1920, 1080)
        self._8_mb = Pictures(frames.folder(cache, 3840, 2160, 8_000_000), 3840, 2160)
        self._no_library = rig.folder / "no-library"
        self._no_library.mkdir()
        (self._no_library / "libturbojpeg.so.0").touch()

    def _load(self, server: Server, *options: str, path: str = "stream", stamped: bool = True) -> Load:
        result = load.run(self._rig, server, *options, path=path, seconds=self._depth.seconds)
        self.flaws += [f"{server.name} {' '.join(options)}: {flaw}" for flaw in result.flaws(stamped)]
        return result

    @contextlib.contextmanager
    def _daemon(
        self, pictures: Pictures | None = None, env: dict[str, str] | None = None, **settings: object
    ) -> Iterator[Server]:
        with self._rig.daemon(pictures or self._hd, env, **settings) as server:
            time.sleep(_WARM_UP_SECONDS)
            yield server

    # -- the servers side by side

    def curves(self) -> Runs:
        """Measure every server with every number of viewers, in turn: changes of the machine then affect all alike."""
        starts: dict[str, Start] = {FLOOR: self._rig.floor, DAEMON: self._rig.daemon, USTREAMER: self._rig.ustreamer}
        runs: Runs = {name: {count: [] for count in VIEWERS} for name in (DAEMON, USTREAMER, FLOOR)}
        if SPYGLASS in self._rig.built:
            starts[SPYGLASS] = self._rig.spyglass
            runs[SPYGLASS] = {count: [] for count in FEW}
        else:
            self._say("spyglass is left out, because it could not be downloaded")
        for number in range(self._depth.rounds):
            for name in [*starts][:: -1 if number % 2 else 1]:
                with starts[name](self._hd) as server:
                    time.sleep(_WARM_UP_SECONDS)
                    stamped = name != SPYGLASS  # which puts Exif before the stamp
                    for count in runs[name]:
                        result = self._load(server, "-n", str(count), stamped=stamped)
                        runs[name][count].append(result)
                        self._say(f"{name}, {count} viewers: {result.us_per_picture:.1f} µs, {result.fps:.1f} fps")
                    self._load(server, "-n", "10", "--verify", "-d", "1", stamped=stamped)
        return runs

    def compared(self, runs: Runs) -> list[Figure]:
        def ratio(name: str, count: int, value: Callable[[Load], float]) -> float:
            """Return the median over all rounds of the ratio to another server in the same round."""
            pairs = zip(runs[DAEMON][count], runs[name][count], strict=True)
            return statistics.median(value(ours) / value(theirs) for ours, theirs in pairs)

        def cpu(result: Load) -> float:
            return result.us_per_picture

        def age(percentile: str) -> Callable[[Load], float]:
            return lambda result: float(result.seen["age"][percentile])

        figures = [Figure("CPU per picture at 1 viewer, of µStreamer's", ratio(USTREAMER, 1, cpu), "x", 1.0, 0.8)]
        figures.append(Figure("… at 10", ratio(USTREAMER, 10, cpu), "x", 0.55, 0.45))
        for count, must, prize in ((50, 1.25, 1.1), (300, 1.12, 1.05), (1000, 1.12, 1.05)):
            figures.append(Figure(f"… at {count}", ratio(USTREAMER, count, cpu), "x", 0.5))
            figures.append(Figure(f"… at {count}, of the C floor's", ratio(FLOOR, count, cpu), "x", must, prize))
        spyglass = runs.get(SPYGLASS, ())
        figures += [Figure(f"… at {count}, of spyglass's", ratio(SPYGLASS, count, cpu), "x") for count in spyglass]
        most = runs[DAEMON][1000]
        figures += [
            Figure(
                "1000 viewers: fps of the one that got least",
                min(r.fewest_fps for r in most),
                "fps",
                HELD_FPS,
                least=True,
            ),
            Figure("1000 viewers: dropped", max(float(r.seen["dropped"]) for r in most), "", 0),
            Figure("1000 viewers: all processes", median(r.percent for r in most), "% of a core", 75),
            Figure(
                "age of a picture at 300 viewers, p50, of the C floor's", ratio(FLOOR, 300, age("p50")), "x", 1.5, 1.1
            ),
            Figure("… p99", ratio(FLOOR, 300, age("p99")), "x", 2.0, 1.1),
            Figure(
                "memory of the server process, 1 viewer", median(r.resident_mb for r in runs[DAEMON][1]), "MB", 28, 24
            ),
            Figure(
                "… 1000 viewers more",
                max(b.resident_mb - a.resident_mb for a, b in zip(runs[DAEMON][1], most, strict=True)),
                "MB",
                2,
            ),
        ]
        return figures

    def large_pictures(self) -> list[Figure]:
        """Measure pictures of 1920x1080 and 150 kB."""
        ages, fewest = [], []
        taken: dict[str, dict[int, list[float]]] = {name: {count: [] for count in FEW} for name in (DAEMON, USTREAMER)}
        for number in range(self._depth.rounds):
            with self._rig.floor(self._full_hd) as server:
                floor = self._load(server, "-n", "300")
            starts: list[Start] = [self._rig.daemon, self._rig.ustreamer]
            for start in starts[:: -1 if number % 2 else 1]:
                with start(self._full_hd) as server:
                    time.sleep(_WARM_UP_SECONDS)
                    for count in FEW:
                        taken[server.name][count].append(self._load(server, "-n", str(count)).us_per_picture)
                    if server.name == DAEMON:
                        many = self._load(server, "-n", "300")
            ages.append(many.seen["age"]["p50"] / floor.seen["age"]["p50"])
            fewest.append(many.fps)
        figures = []
        for count, must, prize in ((1, 0.85, 0.7), (10, None, None)):
            ours, theirs = taken[DAEMON][count], taken[USTREAMER][count]
            ratio = statistics.median(mine / its for mine, its in zip(ours, theirs, strict=True))
            figures += [
                Figure(f"150 kB, {count} viewers: CPU per picture, daemon", statistics.median(ours), "µs"),
                Figure("… µStreamer", statistics.median(theirs), "µs"),
                Figure("… the daemon's, of µStreamer's", ratio, "x", must, prize),
            ]
        return [
            *figures,
            Figure("1080p, 300 viewers: fps", min(fewest), "fps", HELD_FPS, least=True),
            Figure("1080p, 300 viewers: age p50, of the C floor's", statistics.median(ages), "x", 1.3),
        ]

    # -- the daemon alone

    def disturbed(self) -> list[Figure]:
        """Measure viewers beside slow readers, and beside clients that do not read at all."""
        with self._daemon(self._hd_at_3_mb) as server:
            slow = self._load(server, "-n", str(_WATCHERS), "--slow", "3", "--rate", "500000", "-d", "6")
        with self._daemon() as server:
            alone = self._load(server, "-n", str(_WATCHERS))
            stalled = self._load(server, "-n", str(_WATCHERS), "--stalled", "50")
        return [
            Figure("a reader of 0.5 MB/s on 3 MB/s: age p50", slow.seen["slow_age"]["p50"], "ms", 450, 300),
            Figure("… fps of the others", slow.fewest_fps, "fps", HELD_FPS, least=True),
            Figure("20 viewers beside 50 stalled: fps", stalled.fewest_fps, "fps", HELD_FPS, least=True),
            Figure("… memory more", stalled.resident_mb - alone.resident_mb, "MB", 1),
        ]

    def slow_and_large(self) -> list[Figure]:
        """Measure the server's memory while slow viewers of the largest pictures keep a picture each."""
        with self._daemon(self._8_mb, http__max_pending_bytes=_PENDING_BYTES) as server:
            self._load(server, "-n", "1")
            before = meter.resident_mb(server.pid)
            self._load(server, "-n", "1", "--slow", str(_SLOW), "--ramp", str(_SLOW_ARRIVALS), "--rate", "500000")
            more = meter.most_resident_mb(server.pid) - before
        name = f"pictures of 8 MB, {_SLOW} slow viewers: memory more, at most"
        return [Figure(name, more, "MB", _PENDING_BYTES / 1e6)]

    def idle(self) -> list[Figure]:
        with self._daemon() as server, self._daemon(source__capture="on-demand") as asleep:
            time.sleep(2)
            before, asleep_before = meter.read(server.pid), meter.read(asleep.pid)
            time.sleep(self._depth.idle_seconds)
            after, asleep_after = meter.read(server.pid), meter.read(asleep.pid)
            own = _percent(before, after, server.pid)
            everything = _percent(before, after)
            before = after
            for _ in range(max(1, round(self._depth.idle_seconds / _SNAPSHOT_SECONDS))):
                began = time.monotonic()
                _snapshot(server)
                time.sleep(began + _SNAPSHOT_SECONDS - time.monotonic())
            after = meter.read(server.pid)
            snapshots = _percent(before, after)
            others = len(meter.family(asleep.pid)) - 1
        wakeups = (asleep_after.wakeups - asleep_before.wakeups) / (asleep_after.at - asleep_before.at)
        return [
            Figure("nobody watches: server process", own, "% of a core", 0.15),
            Figure("nobody watches: all processes", everything, "% of a core", 0.2, 0.1),
            Figure("… a snapshot each 10 s", snapshots, "% of a core", 0.4),
            Figure("on demand, nobody watches: camera processes", others, "", 0),
            Figure("… wake-ups", wakeups, "/s", 2),
        ]

    def arrivals(self) -> list[Figure]:
        with self._daemon() as server:
            result = self._load(server, "-n", "1", "--churn", "20")
            kept = self._load(server, "--snapshots", "4", path="snapshot")
            closed = self._load(server, "--snapshots", "4", "--close", path="snapshot")
        return [
            Figure("a new viewer's first picture, p50", result.seen["first_picture"]["p50"], "ms", 5, 1),
            Figure("snapshots, 4 connections", kept.snapshots_per_second, "/s", 4000, 4600, least=True),
            Figure("… a connection each", closed.snapshots_per_second, "/s", 1500, 3000, least=True),
        ]

    def starts(self) -> list[Figure]:
        """Measure the start of the process with its files in the page cache and nothing else in memory."""
        listening: list[float] = []
        pattern: list[float] = []
        usb: list[float] = []
        for _ in range(self._depth.starts):
            for pictures, first in ((None, pattern), (self._hd, usb)):
                with self._rig.daemon(pictures) as server:
                    listening.append(server.listening_after)
                    first.append(_first_picture_at(server) - server.started_at)
        return [
            Figure("start to listening", statistics.median(listening), "s", 0.35, 0.175),
            Figure("start to the first picture, test picture", statistics.median(pattern), "s", 1.2, 0.6),
            Figure("start to the first picture, USB", statistics.median(usb), "s"),
            Figure(
                "import of the server's modules",
                _import_seconds("pi_cam_daemon.daemon", self._depth.starts),
                "s",
            ),
        ]

    def turned(self) -> list[Figure]:
        """Measure a quarter turn, with libjpeg-turbo and without it, when pictures are decoded and encoded again.

        Turned pictures have no stamps, because all comments are removed.
        """
        with self._daemon(video__rotation=90) as server:
            lossless = self._load(server, "-n", "1", stamped=False)
            loop = _turning_seconds(self._hd.folder)
            kept = _turning_seconds(self._hd.folder, _KEPT)
        with self._daemon(env={"LD_LIBRARY_PATH": str(self._no_library)}, video__rotation=90) as server:
            anew = self._load(server, "-n", "1", stamped=False)
        return [
            Figure("turned by 90°, 1 viewer: fps", lossless.fps, "fps", HELD_FPS, least=True),
            Figure("… CPU, of decoding and encoding anew", lossless.cpu / anew.cpu, "x", 0.6),
            Figure("… CPU per picture, all processes", lossless.us_per_picture, "µs"),
            Figure("… of libjpeg-turbo's own", lossless.us_per_picture / (loop * 1e6), "x", 1.4, 1.2),
            Figure("… of its own if it keeps its memory", lossless.us_per_picture / (kept * 1e6), "x"),
        ]

    def overlay(self) -> list[Figure]:
        """Measure text drawn on pixels, as for a CSI camera, and text in JPEGs, which are decoded and encoded again."""
        with self._daemon() as server:
            plain = self._load(server, "-n", "1")
        with self._daemon(video__overlay=_OVERLAY) as server:
            drawn = self._load(server, "-n", "1", stamped=False)
        return [
            Figure("overlay on 1280x720 pixels, a picture", _overlay_seconds(1280, 720) * 1e6, "µs"),
            Figure("overlay in the camera's JPEGs, 1 viewer: fps", drawn.fps, "fps"),
            Figure("… CPU, of passing them on", drawn.cpu / plain.cpu, "x"),
        ]

    def masked(self) -> list[Figure]:
        """Measure masks in JPEGs, with libjpeg-turbo and without it, when pictures are decoded and encoded again."""
        with self._daemon() as server:
            plain = self._load(server, "-n", "1")
        with self._daemon(video__masks=_MASKS) as server:
            blocks = self._load(server, "-n", "1", stamped=False)
        with self._daemon(env={"LD_LIBRARY_PATH": str(self._no_library)}, video__masks=_MASKS) as server:
            anew = self._load(server, "-n", "1", stamped=False)
        return [
            Figure("masks in the camera's JPEGs, 1 viewer: fps", blocks.fps, "fps", HELD_FPS, least=True),
            Figure("… CPU, of decoding, drawing and encoding anew", blocks.cpu / anew.cpu, "x", 0.7),
            Figure("… CPU, of passing them on", blocks.cpu / plain.cpu, "x"),
        ]

    def small(self) -> list[Figure]:
        """Measure the small stream: what a picture costs, and what its viewers change for others."""
        many = str(_MANY)
        with self._daemon() as server, ThreadPoolExecutor(1) as pool:
            first = _first_small_seconds(server)
            one = self._load(server, "-n", "1", "-d", str(_SMALL_SECONDS), path="small", stamped=False)
            small = self._load(server, "-n", many, path="small", stamped=False)
            big = self._load(server, "-n", many)
            longer = str(self._depth.seconds + 2)
            others = pool.submit(self._load, server, "-n", many, "-d", longer, path="small", stamped=False)
            time.sleep(1)
            both = self._load(server, "-n", many)
            others.result()
        (scaled, length), (anew, _) = (_shrinking(self._hd.folder, library) for library in (True, False))
        together = both.percent / (big.percent + small.percent)
        age = both.seen["age"]["p50"] / big.seen["age"]["p50"]
        return [
            Figure("a small picture of 1280x720", scaled * 1e6, "µs"),
            Figure("… CPU, of decoding, scaling and encoding by OpenCV", scaled / anew, "x", 0.35),
            Figure("a small stream, 1 viewer: fps", one.fps, "fps", 9.5, least=True),
            Figure("… bits", one.fps * length * 8e-6, "Mbit/s", 1.5),
            Figure("… its first picture", first * 1e3, "ms", 300),
            Figure(f"{many} viewers of big ones and {many} of small ones: CPU, of both alone", together, "x", 1.1),
            Figure("… age of the big pictures, p50, of without", age, "x", 1.1),
        ]

    def motion(self) -> list[Figure]:
        """Measure the watch for motion while nobody looks at the pictures, and what one look takes."""
        used = []
        for enabled in (False, True):
            with self._daemon(motion__enabled=enabled) as server:
                time.sleep(_WARM_UP_SECONDS)
                before = meter.read(server.pid)
                time.sleep(self._depth.idle_seconds)
                used.append(_percent(before, meter.read(server.pid)))
        return [
            Figure("motion, nobody watches: all processes, more", used[1] - used[0], "% of a core", 3),
            Figure("… a look at 640x360 pixels of brightness", _look_seconds(640, 360) * 1e3, "ms", 0.3),
        ]

    def all_rows(self, runs: Runs) -> list[Figure]:
        figures = self.compared(runs)
        for measure in (
            self.large_pictures,
            self.disturbed,
            self.slow_and_large,
            self.idle,
            self.arrivals,
            self.starts,
            self.turned,
            self.overlay,
            self.masked,
            self.small,
            self.motion,
        ):
            self._say(measure.__name__.replace("_", " "))
            figures += measure()
        return figures


def median(values: Iterator[float]) -> float:
    return statistics.median(values)


def _percent(before: meter.Reading, after: meter.Reading, pid: int | None = None) -> float:
    """Return the processor time between two readings in percent of one core, of all processes or of one."""
    return meter.cpu_between(before, after, pid) / (after.at - before.at) * 100


def _snapshot(server: Server) -> bool:
    """Fetch a snapshot over a new connection; return whether there was one."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", server.paths["snapshot"])
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200


def _first_small_seconds(server: Server) -> float:
    """Return the time from a request for small pictures to the end of the first one, while nobody has asked before."""
    begun = time.monotonic()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", server.paths["small"])
        answer, seen = connection.getresponse(), b""
        while b"\xff\xd9" not in seen:
            seen += answer.read1()
    return time.monotonic() - begun


def _first_picture_at(server: Server) -> float:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if _snapshot(server):
            return time.monotonic()
    raise RuntimeError("there is no first picture")


def _turning_seconds(folder: Path, env: Mapping[str, str] | None = None) -> float:
    """Return the processor time that libjpeg-turbo takes to turn one of the pictures in *folder*."""
    argv = [sys.executable, "-m", "tests.bench.turn", str(folder)]
    run = subprocess.run(
        argv,
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        preexec_fn=lambda: lift(SERVER_CPU),
    )
    return float(run.stdout)


def _shrinking(folder: Path, library: bool) -> tuple[float, float]:
    """Return the processor time to make one of the pictures in *folder* small, and its length in bytes.

    With the *library* the daemon's way, else with OpenCV at full size: what a program does that knows nothing better.
    """
    daemon = "from pi_cam_daemon.imaging.shrink import Shrink\nshrink = Shrink(480, 60).of_jpeg\n"
    opencv = (
        "import cv2, numpy\n"
        "cv2.setNumThreads(1)\n"
        "def shrink(jpeg):\n"
        "    pixels = cv2.imdecode(numpy.frombuffer(jpeg, numpy.uint8), cv2.IMREAD_COLOR)\n"
        "    small = cv2.resize(pixels, (480, 270), interpolation=cv2.INTER_AREA)\n"
        "    return cv2.imencode('.jpg', small, (cv2.IMWRITE_JPEG_QUALITY, 60))[1].tobytes()\n"
    )
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        + (daemon if library else opencv)
        + "jpegs = [file.read_bytes() for file in sorted(Path(sys.argv[1]).iterdir())]\n"
        "for jpeg in jpegs:\n    shrink(jpeg)\n"
        "begin = time.process_time()\n"
        "lengths = [len(shrink(jpeg)) for jpeg in 5 * jpegs]\n"
        "print((time.process_time() - begin) / len(lengths), sum(lengths) / len(lengths))\n"
    )
    argv = [sys.executable, "-c", code, str(folder)]
    run = subprocess.run(
        argv, check=True, capture_output=True, text=True, cwd=ROOT, preexec_fn=lambda: lift(SERVER_CPU)
    )
    seconds, length = map(float, run.stdout.split())
    return seconds, length


def _overlay_seconds(width: int, height: int) -> float:
    """Return the processor time to draw the overlay into one picture: the average over two seconds of new texts."""
    code = (
        "import time, numpy\n"
        "from pi_cam_daemon.imaging.overlay import Overlay\n"
        f"overlay, luma = Overlay({_OVERLAY!r}), numpy.zeros(({height}, {width}), numpy.uint8)\n"
        "spent = count = 0\n"
        "until = time.monotonic() + 2\n"
        "while time.monotonic() < until:\n"
        "    begin = time.thread_time()\n"
        "    overlay.draw(luma)\n"
        "    spent, count = spent + time.thread_time() - begin, count + 1\n"
        f"    time.sleep(1 / {FRAMERATE})\n"
        "print(spent / count)\n"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def _look_seconds(width: int, height: int) -> float:
    """Return the processor time of one look at a plane of brightness in which somebody walks."""
    code = (
        "import time, cv2\n"
        "from pi_cam_daemon.camera.looks import thinned\n"
        "from pi_cam_daemon.camera.motion import Detector\n"
        "from pi_cam_daemon.imaging.grey import of_pixels\n"
        "from pi_cam_daemon.imaging.orientation import Orientation\n"
        "from tests.kit.scenes import Scene, Walker, clouds\n"
        "cv2.setNumThreads(1)\n"
        "scene = Scene(clouds(), things=[Walker(10 + 20 * n) for n in range(6)])\n"
        f"planes = [(at + 1, cv2.resize(grey, ({width}, {height}))) for at, grey in scene.pictures(120)]\n"
        "detector, upright = Detector([], 0.1, 0.005), Orientation(0, False, False)\n"
        "begin = time.process_time()\n"
        "for at, plane in planes:\n"
        "    detector.look(of_pixels(thinned(plane), upright), at)\n"
        "print((time.process_time() - begin) / len(planes))\n"
    )
    argv = [sys.executable, "-c", code]
    run = subprocess.run(
        argv, check=True, capture_output=True, text=True, cwd=ROOT, preexec_fn=lambda: lift(SERVER_CPU)
    )
    return float(run.stdout)


def _import_seconds(module: str, count: int) -> float:
    """Return how long the import takes in addition to the interpreter's start."""

    def seconds(code: str) -> float:
        begin = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.monotonic() - begin

    return statistics.median(seconds(f"import {module}") - seconds("") for _ in range(count))


def summary(runs: Runs) -> dict[str, list[dict[str, float]]]:
    """Return the medians of all rounds for texts and charts, of the servers with all numbers of viewers."""

    whole = {name: by_count for name, by_count in runs.items() if len(by_count) == len(VIEWERS)}

    def point(count: int, results: Sequence[Load]) -> dict[str, float]:
        return {
            "viewers": count,
            "us_per_picture": median(r.us_per_picture for r in results),
            "percent": median(r.percent for r in results),
            "fps": median(r.fps for r in results),
            "dropped_percent": median(
                100 * r.seen["dropped"] / (r.seen["dropped"] + r.seen["pictures"]) for r in results
            ),
            "age_p50_ms": median(r.seen["age"]["p50"] for r in results),
            "age_p99_ms": median(r.seen["age"]["p99"] for r in results),
            "resident_mb": median(r.resident_mb for r in results),
        }

    return {name: [point(count, by_count[count]) for count in VIEWERS] for name, by_count in whole.items()}


def curve_table(points: dict[str, list[dict[str, float]]]) -> str:
    """Return a Markdown table: CPU time per picture, and the rate of 1000 and 300 viewers."""
    counts = [f"{count} viewer{'s' * (count > 1)}" for count in VIEWERS]
    columns = [*counts, "fps at 1000", "age p50/p99 ms at 300", "MB at 1 / 1000"]
    lines = [f"| CPU µs per picture, {FRAMERATE} fps | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name, row in points.items():
        by_count = {int(point["viewers"]): point for point in row}
        cells = [f"{point['us_per_picture']:.1f}" for point in row]
        at300 = by_count[300]
        cells += [
            f"{by_count[1000]['fps']:.1f}",
            f"{at300['age_p50_ms']:.1f} / {at300['age_p99_ms']:.1f}",
            f"{by_count[1]['resident_mb']:.0f} / {by_count[1000]['resident_mb']:.0f}",
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
