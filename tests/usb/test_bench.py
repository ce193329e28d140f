"""The benchmark's tools must find flaws; otherwise its figures mean nothing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.bench import chart, measures
from tests.bench.figures import Figure, table
from tests.bench.load import Load
from tests.bench.measures import Bench
from tests.kit.daemon import ROOT
from tests.kit.lateness import patience
from tests.usb.machine import Machine, compiled

PERIOD = 0.02
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=B\r\n\r\n--B\r\n"
Picture = Callable[[int, int], bytes]


def unequal(number: int, viewer: int) -> bytes:
    return b"\xff\xd8\xff\xfe\x00\x26FAKE%016x%016x viewer %d \xff\xd9" % (number, 0, viewer)


def same(number: int, viewer: int) -> bytes:  # noqa: ARG001
    return b"\xff\xd8\xff\xfe\x00\x26FAKE%016x%016x for all \xff\xd9" % (number, 0)


def cut_short(number: int, viewer: int) -> bytes:
    return same(number, viewer)[:-2]


def with_gaps(number: int, viewer: int) -> bytes:
    return same(3 * number, viewer)


def going_back(number: int, viewer: int) -> bytes:
    return same(1000 - number, viewer)


def unstamped(number: int, viewer: int) -> bytes:  # noqa: ARG001
    return b"\xff\xd8 a picture of another camera, longer than a stamp \xff\xd9"


def for_the_last_two(number: int, viewer: int) -> bytes:
    if viewer < 3:
        raise ConnectionError("the test hangs up")
    return same(number, viewer)


@contextlib.contextmanager
def serving(picture: Picture) -> Iterator[int]:
    """Serve the test's own pictures; return the port."""

    def serve(connection: socket.socket, viewer: int) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(HEAD)
            while True:
                time.sleep(PERIOD)
                jpeg = picture(round((time.monotonic() - began) / PERIOD), viewer)
                connection.sendall(b"Content-Length: %d\r\n\r\n%s\r\n--B\r\n" % (len(jpeg), jpeg))

    def accept() -> None:
        with contextlib.suppress(OSError):
            for viewer in range(100):
                threading.Thread(target=serve, args=(listener.accept()[0], viewer), daemon=True).start()

    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(patience(5))


def seen(picture: Picture, *options: str) -> dict[str, Any]:
    load = compiled(ROOT / "tests" / "bench" / "load.c", "-fsanitize=address")
    with serving(picture) as port:
        argv = [str(load), "-n", "2", "-w", "0.1", "-d", "0.6", *options, str(port), "/"]
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        run = subprocess.run(argv, capture_output=True, text=True, timeout=30, env=env)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[:2] == ["begin", "end"]
    found: dict[str, Any] = json.loads(lines[2])
    return found


def test_good_pictures_are_counted_and_no_flaw_is_found() -> None:
    found = seen(same, "--verify")
    assert found["viewers"] == 2
    assert found["pictures"] > 10
    assert [found[flaw] for flaw in ("ended", "errors", "corrupt", "unstamped")] == [0, 0, 0, 0]


@pytest.mark.parametrize("picture", [unequal, cut_short, going_back])
def test_unequal_and_damaged_pictures_are_corrupt(picture: Picture) -> None:
    assert seen(picture, "--verify")["corrupt"] > 5


def test_disconnected_slow_readers_do_not_disturb_the_others() -> None:
    found = seen(for_the_last_two, "--slow", "3", "--ramp", "100")
    assert found["viewers"] == 2
    assert found["pictures"] > 10
    assert found["ended"] == 0


def test_missing_frames_count_as_dropped() -> None:
    found = seen(with_gaps)
    assert found["dropped"] >= found["pictures"]


def test_pictures_without_a_stamp_are_counted() -> None:
    assert seen(unstamped)["unstamped"] > 5


def test_the_camera_stamps_each_picture_with_its_number_and_the_time(machine: Machine) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom pi_cam_daemon.camera import v4l2\n"
        "with v4l2.opened(Path(sys.argv[1])) as fd:\n"
        " capture = v4l2.Capture(fd, 'MJPG', 320, 240, 25)\n"
        " with capture.streaming():\n"
        "  for _ in range(3):\n"
        "   capture.wait(5000)\n"
        "   picture = capture.newest()\n"
        "   print(picture[0][6:42].decode(), picture[3])\n"
        "   capture.give_back()\n"
        "   del picture\n"
    )
    camera = machine.plug(stamp="1")
    argv = ["/usr/bin/env", *(f"{key}={value}" for key, value in machine.env.items())]
    run = subprocess.run(
        [*argv, sys.executable, "-c", script, camera], capture_output=True, text=True, timeout=30, check=True, cwd=ROOT
    )
    lines = [line.split() for line in run.stdout.splitlines()]
    numbers = [int(stamp[4:20], 16) for stamp, _ in lines]
    assert numbers == sorted(set(numbers)), "a busy reader skips, and is never given one twice"
    for stamp, timestamp in lines:
        assert stamp.startswith("FAKE")
        assert int(stamp[20:], 16) // 1000 == int(timestamp) // 1000


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("", 1.3, "x", 1.25, 1.0), "MISSED"),
        (Figure("", 1.2, "x", 1.25, 1.0), "must"),
        (Figure("", 1.0, "x", 1.25, 1.0), "prize"),
        (Figure("", 29.4, "fps", 29.5, least=True), "MISSED"),
        (Figure("", 29.5, "fps", 29.5, least=True), "must"),
        (Figure("", 9e9, "s"), ""),
    ],
)
def test_a_figure_is_judged_by_its_limits(figure: Figure, verdict: str) -> None:
    assert figure.verdict == verdict
    assert table([figure]).splitlines()[-1].endswith(f"| {verdict} |")


SEEN = {"pictures": 1000, "viewers": 1, "seconds": 1.0, "fewest": 30, "dropped": 0, "age": {"p50": 2.0, "p99": 4.0}}


@pytest.mark.parametrize(
    ("viewers", "worse"),
    [
        *((viewers, {"cpu": 3.0}) for viewers in measures.VIEWERS),
        (1000, {"fewest": 29}),
        (300, {"age": {"p50": 5.0, "p99": 4.0}}),
        (300, {"age": {"p50": 2.0, "p99": 9.0}}),
        (1, {"resident_mb": 29.0}),
        (1000, {"resident_mb": 31.0}),
    ],
)
def test_each_figure_of_the_document_is_missed_if_the_daemon_is_worse(viewers: int, worse: dict[str, Any]) -> None:
    def load(cpu: float = 1.0, resident_mb: float = 28.0, **seen: Any) -> Load:
        return Load({**SEEN, **seen}, cpu / 1000, cpu / 1000, 0, resident_mb)

    servers = {measures.DAEMON: 1.0, measures.USTREAMER: 2.0, measures.FLOOR: 1.0}
    runs = {name: {count: [load(cpu)] for count in measures.VIEWERS} for name, cpu in servers.items()}
    rows = measures.curve_table(measures.summary(runs)).splitlines()
    head = next(line for line in (ROOT / "docs/performance.md").read_text().splitlines() if line.startswith("| CPU µs"))
    assert rows[0] == head

    def missed() -> list[str]:
        return [figure.name for figure in Bench.compared(Any, runs) if figure.verdict == "MISSED"]

    assert missed() == []
    runs[measures.DAEMON][viewers] = [load(**worse)]
    assert missed()


def test_the_chart_is_valid_xml_with_a_line_for_each_server() -> None:
    row = [{"viewers": float(count), "percent": 0.07 * count, "resident_mb": 25.0} for count in (1, 50, 1000)]
    root = ET.fromstring(chart.svg({"a": row, "b": row, "c": row}))
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 6
