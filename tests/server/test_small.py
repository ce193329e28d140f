"""The small stream beside the big one, of the whole daemon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.imaging import jpeg
from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading
from tests.server.test_faults import PACKAGED, is_picture
from tests.server.test_metrics import value

BIG, SMALL = (320, 240), (160, 120)
SETTINGS = {"video.width": 320, "video.height": 240, "small.width": 160, "source.stall_timeout_seconds": 2.0}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("small") / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.mark.parametrize(
    "target", ["/stream?size=small", "/stream.mjpg?size=small", "/video?size=small&fps=9", "/?action=stream&size=small"]
)
def test_each_address_of_the_stream_has_small_pictures(shared: Daemon, target: str) -> None:
    viewer, beside = shared.watch(target), shared.watch(target.replace("small", "big"))
    assert {part.size for part in viewer.parts(3)} == {SMALL}
    assert {part.size for part in beside.parts(3)} == {BIG}
    viewer.close()
    beside.close()


@pytest.mark.parametrize(
    "target",
    ["/snapshot?size=small", "/snapshot.jpg?size=small&max_age_ms=0", "/?action=snapshot&size=small"],
)
def test_each_address_of_the_snapshot_has_a_fresh_small_picture(shared: Daemon, target: str) -> None:
    for _ in range(2):
        asked = time.time()
        status, headers, body = shared.get(target)
        assert (status, jpeg.size(body)) == (200, SMALL)
        assert float(headers["x-timestamp"]) > asked - (0.01 if "max_age" in target else 1.1)
        status, _, body = shared.get(target.replace("small", "big"))
        assert (status, jpeg.size(body)) == (200, BIG)


@pytest.mark.parametrize("target", ["/stream?size=huge", "/snapshot?size=", "/?action=stream&size=SMALL"])
def test_another_size_is_refused_with_the_reason(shared: Daemon, target: str) -> None:
    status, _, body = shared.get(target)
    assert (status, body) == (400, b"size has to be big or small\n")


def test_the_rate_of_small_pictures_is_their_own(shared: Daemon) -> None:
    big, small = Reading(shared.watch()), Reading(shared.watch("/stream?size=small"))
    until("twenty small pictures", lambda: len(small.parts) > 20)
    for reading, rate in ((big, 25), (small, 10)):
        times = sorted({part.timestamp for part in reading.finish()})
        assert rate / patience(1.25) <= (len(times) - 1) / (times[-1] - times[0]) <= rate * 1.2
        reading.viewer.close()


def test_small_pictures_are_made_only_while_asked_for_and_counted_by_size(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        big = Reading(daemon.watch())
        until("pictures", lambda: len(big.parts) > 10)
        empty = {"width": None, "height": None, "frames": {"age_seconds": None}, "viewers": 0}
        assert daemon.state()["small"] == empty, "not one was made"
        small = Reading(daemon.watch("/stream?size=small"))
        until("a small picture", lambda: len(small.parts) > 1)
        table = daemon.state()
        assert (table["viewers"], table["small"]["viewers"]) == (2, 1)
        assert (table["small"]["width"], table["small"]["height"]) == SMALL
        assert (table["camera"]["width"], table["camera"]["height"]) == BIG
        assert table["small"]["frames"]["age_seconds"] < patience(0.5)
        assert value(daemon, "pi_cam_stream_clients") == 2
        assert [value(daemon, "pi_cam_stream_clients_by_size", size=size) for size in ("big", "small")] == [1, 1]
        assert 0 < value(daemon, "pi_cam_small_frame_age_seconds") < patience(0.5)
        small.finish()
        small.viewer.close()
        until("it has left", lambda: daemon.state()["viewers"] == 1)
        until("no small picture any more", lambda: daemon.state()["small"]["frames"]["age_seconds"] > 0.5)
        assert value(daemon, "pi_cam_small_frame_age_seconds") == 0, "nobody asks"
        big.finish()
        big.viewer.close()


def test_who_wants_small_pictures_only_does_not_get_big_ones_made(shared: Daemon) -> None:
    viewer = Reading(shared.watch("/stream?size=small"))
    until("small pictures", lambda: len(viewer.parts) > 3)
    ages = []
    until("big ones", lambda: ages.append(shared.state()["frames"]["age_seconds"]) or len(ages) > 20)
    assert max(ages) > 0.3, "one a second"
    assert shared.state()["state"] == "streaming"
    viewer.finish()
    viewer.viewer.close()


def test_a_small_picture_wakes_a_camera_on_demand_and_lets_it_sleep(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "source.capture": "on-demand", "source.idle_seconds": 1}) as daemon:
        daemon.wait_for_state("idle")
        # a snapshot waits for 4 s, and a loaded machine may take longer to open a camera
        body = until("a picture", lambda: (got := daemon.get("/snapshot?size=small"))[0] == 200 and got[2])
        assert jpeg.size(body) == SMALL
        daemon.wait_for_state("idle")
        viewer = Reading(daemon.watch("/stream?size=small"))
        until("live small pictures", lambda: any(map(is_picture, viewer.parts)))
        time.sleep(1.5)  # longer than it may be idle
        assert daemon.state()["state"] == "streaming", "it stays awake for a small viewer"
        viewer.finish()
        viewer.viewer.close()
        daemon.wait_for_state("idle")


def killed(daemon: Daemon) -> None:
    os.kill(daemon.camera_pid(), signal.SIGKILL)


def stopped(daemon: Daemon) -> None:
    os.kill(daemon.camera_pid(), signal.SIGSTOP)


def reloaded(daemon: Daemon) -> None:
    daemon.reload({**SETTINGS, "small.quality": 30})


@pytest.mark.parametrize("fault", [killed, stopped, reloaded])
def test_viewers_of_both_sizes_go_on_after(tmp_path: Path, fault: Callable[[Daemon], None]) -> None:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_rate()  # a stall is noticed by it
        big, small = Reading(daemon.watch()), Reading(daemon.watch("/stream?size=small"))
        until("both sizes", lambda: any(map(is_picture, big.parts)) and any(map(is_picture, small.parts)))
        pid = daemon.camera_pid()
        fault(daemon)
        until("another camera process", lambda: daemon.state()["camera_process"]["pid"] not in (None, pid), 15)
        started = time.time()
        for reading in (big, small):
            until(
                "live pictures",
                lambda reading=reading: is_picture(last := reading.parts[-1]) and last.timestamp > started,  # type: ignore[misc]
                15,
            )
        # the card that comes while the right one is drawn has another size
        assert {part.size for part in big.finish() if part.jpeg != PACKAGED} == {BIG}
        assert {part.size for part in small.finish() if part.jpeg != PACKAGED} == {SMALL}
        if fault is stopped:
            assert any(b"\r\nX-No-Picture: stalled\r\n" in part.header for part in small.parts)
        big.viewer.close()
        small.viewer.close()
