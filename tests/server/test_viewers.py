"""Many viewers: slow ones, stalled ones, and ones that vanish."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import struct
import time
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading, Viewer


def test_fifty_viewers_get_equal_whole_pictures(daemon: Daemon) -> None:
    readings = [Reading(daemon.watch()) for _ in range(50)]
    until("fifty viewers with 25 pictures each", lambda: all(len(reading.parts) >= 25 for reading in readings), 20)
    assert daemon.state()["viewers"] == 50
    pictures: dict[float, set[bytes]] = {}
    for reading in readings:
        for part in reading.finish():
            pictures.setdefault(part.timestamp, set()).add(hashlib.sha256(part.jpeg).digest())
        reading.viewer.close()
    assert all(len(variants) == 1 for variants in pictures.values())
    until("no viewer left", lambda: daemon.state()["viewers"] == 0)


def test_a_new_viewer_gets_the_newest_picture_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"video.framerate": 1}) as daemon:
        first = daemon.watch()
        first.part()
        second = daemon.watch()
        asked = time.monotonic()
        assert second.part().arrived - asked < patience(0.5)  # the next frame is up to a second away
        first.close()
        second.close()


def test_a_slow_viewer_sees_fewer_pictures_but_no_old_ones(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"video.width": 1280, "video.height": 720, "video.quality": 95}) as daemon:
        daemon.wait_for_state("streaming")
        brisk = Reading(daemon.watch())
        viewer = Viewer(daemon.connect("/stream", receive_buffer=32 * 1024))
        viewer.part()
        ages = []
        for _ in range(8):
            time.sleep(0.4)  # ten frame periods: the load under test, not a wait for something
            # One picture was under way when the reading stopped, and is finished first; the one behind it is new.
            viewer.part()
            part = viewer.part()
            ages.append(time.time() - part.timestamp)
        assert min(ages) < patience(0.4)
        assert max(ages) < patience(1.5)
        times = [part.timestamp for part in brisk.finish()]
        assert max(later - earlier for earlier, later in itertools.pairwise(times)) < patience(0.5)
        brisk.viewer.close()
        viewer.close()


def test_only_the_stalled_viewer_is_dropped(tmp_path: Path) -> None:
    settings = {"http.viewer_timeout_seconds": 1, "video.width": 1280, "video.height": 720, "video.quality": 95}
    with running(tmp_path / "daemon", settings) as daemon:
        daemon.wait_for_state("streaming")
        stalled = daemon.connect("/stream", receive_buffer=4096)
        # first, for only the first of an address's viewers is told in the log
        until("one viewer", lambda: daemon.state()["viewers"] == 1)
        brisk = Reading(daemon.watch())
        until("two viewers", lambda: daemon.state()["viewers"] == 2)
        until("the stalled one dropped", lambda: daemon.state()["viewers"] == 1)
        seen = len(brisk.parts)
        until("more pictures", lambda: len(brisk.parts) > seen + 10)
        brisk.finish()
        assert "took nothing for 1 s" in daemon.log()
        stalled.close()
        brisk.viewer.close()


LARGE = {"video.width": 1920, "video.height": 1080, "video.quality": 100, "video.framerate": 5}


def test_a_snapshot_over_a_slow_link_is_whole(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**LARGE, "http.request_timeout_seconds": 1}) as daemon:
        length = len(daemon.get("/snapshot")[2])
        begun = time.monotonic()
        with daemon.connect("/snapshot", receive_buffer=8192) as sock, sock.makefile("rb") as answer:
            while line := answer.readline().strip():
                if line.startswith(b"Content-Length: "):
                    length = int(line[16:])
            left = length
            while left and (piece := answer.read1(min(left, length // 50))):
                left -= len(piece)
                time.sleep(0.04)  # the load under test: a slow link
        assert left == 0
        assert time.monotonic() - begun > 2, "it took longer than the timeout"


def test_a_snapshot_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**LARGE, "http.request_timeout_seconds": 1}) as daemon:
        viewer = daemon.watch()
        viewer.part()
        viewer.close()
        threads = Path(f"/proc/{daemon.process.pid}/task")
        before = len(list(threads.iterdir()))
        with daemon.connect("/snapshot", receive_buffer=4096):
            until("it is served", lambda: len(list(threads.iterdir())) > before)
            until("it is given up", lambda: len(list(threads.iterdir())) <= before)


def test_snapshots_that_nobody_reads_keep_bounded_memory(tmp_path: Path) -> None:
    settings = {**LARGE, "http.request_timeout_seconds": 600, "http.max_pending_bytes": 1 << 20}
    with running(tmp_path / "daemon", settings) as daemon, contextlib.ExitStack() as stack:
        viewer = Reading(daemon.watch())
        until("pictures", lambda: len(viewer.parts) > 2)
        threads = Path(f"/proc/{daemon.process.pid}/task")
        before = len(list(threads.iterdir()))
        most = (1 << 20) // len(viewer.parts[-1].jpeg) + 2  # the newest is not limited, nor the one before it
        for _ in range(most + 10):  # each is stuck in another picture
            stack.enter_context(daemon.connect("/snapshot?max_age_ms=0", receive_buffer=4096))
            seen = len(viewer.parts)
            until("new pictures", lambda seen=seen: len(viewer.parts) > seen + 1)  # type: ignore[misc]
        assert len(list(threads.iterdir())) <= before + most
        assert daemon.log().count("127.0.0.1 is disconnected: over http.max_pending_bytes wait") == 1
        viewer.finish()
        viewer.viewer.close()


def test_viewers_that_vanish_leave_nothing_behind(daemon: Daemon) -> None:
    steady = Reading(daemon.watch())
    fds = Path(f"/proc/{daemon.process.pid}/fd")
    until("the steady viewer", lambda: daemon.state()["viewers"] == 1)
    before = len(list(fds.iterdir()))
    for turn in range(30):
        viewer = daemon.watch()
        viewer.part()
        if turn % 2:  # a reset in the middle of a part
            viewer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        viewer.close()
    until("only the steady viewer", lambda: daemon.state()["viewers"] == 1)
    until("as many descriptors as before", lambda: len(list(fds.iterdir())) <= before)
    steady.finish()
    steady.viewer.close()


def test_a_half_closed_viewer_is_still_served(daemon: Daemon) -> None:
    viewer = daemon.watch()
    viewer.sock.shutdown(socket.SHUT_WR)
    viewer.parts(10)
    viewer.close()


def test_a_viewer_over_the_limit_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"http.max_viewers": 2}) as daemon:
        daemon.wait_for_state("streaming")
        viewers = [daemon.watch() for _ in range(2)]
        status, headers, body = daemon.get("/stream")
        assert (status, headers["retry-after"]) == (503, "2")
        assert b"http.max_viewers" in body
        assert daemon.get("/snapshot")[0] == 200
        viewers.pop().close()
        until("a free place", lambda: daemon.state()["viewers"] == 1)
        viewers.append(daemon.watch())
        for viewer in viewers:
            viewer.parts(3)
            viewer.close()


@pytest.mark.parametrize(("limit", "status"), [("max_viewers", 503), ("max_viewers_per_address", 429)])
def test_viewers_that_load_again_find_their_places_free(limit: str, status: int, tmp_path: Path) -> None:
    # a picture a second: the next one is too late to notice who hung up
    with running(tmp_path / "daemon", {f"http.{limit}": 2, "video.framerate": 1}) as daemon:
        daemon.wait_for_state("streaming")
        viewers = [daemon.watch() for _ in range(2)]
        for turn in range(30):
            for viewer in viewers:
                if turn % 2:
                    viewer.part()
                viewer.close()
            viewers = [daemon.watch() for _ in range(2)]
        begun = time.monotonic()
        assert daemon.get("/stream")[0] == status
        assert time.monotonic() - begun < patience(0.3), "nobody leaves, so there is nothing to wait for"
        for viewer in viewers:
            viewer.part()
            viewer.close()


def test_a_half_closed_viewer_keeps_its_place(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"http.max_viewers": 1, "video.framerate": 1}) as daemon:
        daemon.wait_for_state("streaming")
        viewer = daemon.watch()
        viewer.sock.shutdown(socket.SHUT_WR)
        assert [daemon.get("/stream")[0] for _ in range(2)] == [503, 503]
        viewer.parts(3)
        begun = time.monotonic()
        assert daemon.get("/stream")[0] == 503
        assert time.monotonic() - begun < patience(0.3), "it is known to stay"
        viewer.close()


@pytest.mark.parametrize(("limit", "status"), [("max_connections", 503), ("max_connections_per_address", 429)])
def test_connections_that_are_made_again_find_their_places_free(limit: str, status: int, tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {f"http.{limit}": 3}) as daemon:
        daemon.wait_for_state("streaming")
        for _ in range(30):
            idle = [daemon.connect("/livez") for _ in range(3)]
            for sock in idle:
                assert sock.recv(100).startswith(b"HTTP/1.1 200")
            for sock in idle:
                sock.close()
        idle = [daemon.connect("/livez") for _ in range(3)]
        begun = time.monotonic()
        assert daemon.get("/livez")[0] == status
        assert time.monotonic() - begun < patience(0.3), "nobody leaves, so there is nothing to wait for"
        idle[0].shutdown(socket.SHUT_WR)
        until("served", lambda: daemon.get("/livez")[0] == 200)
        for sock in idle:
            sock.close()


def test_hundreds_of_refusals_are_survived(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"http.max_connections": 1}) as daemon:
        idle = socket.create_connection(("127.0.0.1", daemon.port))
        until("refused", lambda: daemon.get("/livez")[0] == 503)
        talking = [daemon.connect("/livez") for _ in range(300)]
        for sock in talking:
            with contextlib.suppress(OSError):
                sock.sendall(b"and more")
            sock.close()
        idle.close()
        until("served again", lambda: daemon.get("/livez")[0] == 200)
        assert daemon.process.poll() is None


def test_a_connection_over_the_limit_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"http.max_connections": 3}) as daemon:
        idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(3)]
        until("refused", lambda: daemon.get("/livez")[0] == 503)
        for sock in idle:
            sock.close()
        until("served again", lambda: daemon.get("/livez")[0] == 200)
