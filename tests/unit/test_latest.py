import threading
import time
import weakref
from typing import cast

import pytest

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.latest import Demand, LatestFrame
from pi_cam_daemon.core.link import CameraLink
from pi_cam_daemon.ipc.parts import part
from pi_cam_daemon.ipc.protocol import Kind
from pi_cam_daemon.ipc.slots import SlotReader
from tests.kit.camera_end import CameraEnd
from tests.kit.lateness import patience


def frame(captured: float) -> Frame:
    return Frame(part(b"jpeg", 0), round(captured * 1e9), 0)


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


class Slots:
    """Memory with one part; *given_back* counts how often it was given back."""

    def __init__(self, jpeg: bytes) -> None:
        self.memory = bytearray(part(jpeg, 0))
        self.given_back = 0

    def give_back(self, _slot: int) -> None:
        self.given_back += 1
        self.memory[:] = bytes(len(self.memory))

    def frame(self, captured: float) -> Frame:
        return Frame(memoryview(self.memory), round(captured * 1e9), 0, cast(SlotReader, self), 0)


def test_a_picture_stays_when_its_memory_is_used_again() -> None:
    latest, slots = LatestFrame(), Slots(b"first")
    latest.publish(slots.frame(1.0))
    picture = latest.wait(1.0, 0.0)
    latest.publish(frame(2.0))
    assert slots.given_back == 1
    assert picture and picture.jpeg == b"first"


def test_a_picture_does_not_keep_the_memory_of_a_camera_process_that_has_ended() -> None:
    end, latest = CameraEnd(), LatestFrame()
    memory, link = weakref.ref(end.reader), CameraLink(end.theirs, end.reader, 15.0, lambda: None)
    end.say(Kind.FRAME, b"\xff\xd8first")
    first = link.read()
    assert first
    latest.publish(first)
    picture = latest.wait(0.0, 0.0)
    link.close()
    end.close()
    del end, first, link
    assert memory(), "the picture is the newest still"
    latest.publish(frame(2.0))
    assert picture and picture.jpeg == b"\xff\xd8first"
    assert memory() is None and picture.part == b""


def test_a_frame_is_given_back_once_and_only_when_a_newer_one_is_there() -> None:
    latest, slots = LatestFrame(), [Slots(b"%d" % number) for number in range(3)]
    for number, one in enumerate(slots):
        latest.publish(one.frame(float(number)))
    assert [one.given_back for one in slots] == [1, 1, 0]


def test_a_forgotten_frame_is_given_back_and_to_nobody() -> None:
    latest, slots = LatestFrame(), Slots(b"first")
    latest.forget()
    latest.publish(slots.frame(1.0))
    latest.forget()
    assert slots.given_back == 1
    assert (latest.frame, latest.size(), latest.wait(0.0, 0.0)) == (None, None, None)
    latest.publish(frame(2.0))
    assert latest.wait(0.0, 0.0)
    assert slots.given_back == 1


def test_a_frame_that_a_broken_camera_process_wrote_has_no_size() -> None:
    latest = LatestFrame()
    latest.publish(Frame(bytes(200), 0, 0))
    assert latest.size() is None


def test_all_who_wait_for_a_frame_share_one_copy() -> None:
    latest = LatestFrame()
    latest.publish(Slots(b"jpeg").frame(1.0))
    first, second = latest.wait(1.0, 0.0), latest.wait(1.0, 0.0)
    assert first and second
    assert first.jpeg.obj is second.jpeg.obj


def test_the_newest_frame_is_kept_and_no_other() -> None:
    latest = LatestFrame()
    assert latest.frame is None
    first, second = frame(1.0), frame(2.0)
    latest.publish(first)
    assert latest.frame is first
    latest.publish(second)
    assert latest.frame is second


def test_a_frame_that_is_new_enough_is_given_at_once() -> None:
    latest = LatestFrame()
    newest = frame(100.0)
    latest.publish(newest)
    assert latest.wait(captured_since=100.0, timeout=0.0) is newest


def test_a_frame_that_is_too_old_is_given_to_nobody() -> None:
    latest = LatestFrame()
    latest.publish(frame(99.9))
    begin = time.monotonic()
    assert latest.wait(captured_since=100.0, timeout=0.1) is None
    assert 0.1 <= time.monotonic() - begin < patience(2.0)


def test_a_wait_without_frames_ends_at_its_timeout() -> None:
    assert LatestFrame().wait(captured_since=0.0, timeout=0.05) is None


def test_the_first_frame_that_is_new_enough_wakes_all_waiters() -> None:
    latest = LatestFrame()
    found: list[Frame | None] = []
    threads = [threading.Thread(target=lambda: found.append(latest.wait(50.0, 10.0))) for _ in range(5)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    latest.publish(frame(49.0))
    fresh = frame(51.0)
    latest.publish(fresh)
    for thread in threads:
        thread.join(patience(10))
    assert found == [fresh] * 5
    assert time.monotonic() - begin < patience(5)


def test_at_first_there_is_no_demand() -> None:
    assert Demand(Counter()).wanted_until(1e6) < time.monotonic()


def test_demand_is_endless_while_somebody_watches() -> None:
    demand = Demand(Counter())
    demand.viewers(1)
    assert demand.wanted_until(0.0) == float("inf")


def test_demand_lasts_for_a_while_after_the_last_viewer() -> None:
    demand = Demand(Counter())
    demand.viewers(2)
    demand.viewers(0)
    assert demand.wanted_until(30.0) == pytest.approx(time.monotonic() + 30, abs=1)


def test_a_request_makes_demand_while_it_waits_and_for_a_while_after_it() -> None:
    changed = Counter()
    demand = Demand(changed)
    with demand.waiting(), demand.waiting():
        assert changed.calls == 1
        assert demand.present
        assert demand.wanted_until(0.0) == float("inf")
    assert changed.calls == 2
    assert not demand.present
    assert demand.wanted_until(30.0) == pytest.approx(time.monotonic() + 30, abs=1)


def test_a_request_that_need_not_wait_prolongs_the_demand_and_wakes_nobody() -> None:
    changed = Counter()
    demand = Demand(changed)
    demand.touch()
    assert changed.calls == 0
    assert not demand.present
    assert demand.wanted_until(30.0) == pytest.approx(time.monotonic() + 30, abs=1)


def test_only_the_first_and_the_last_viewer_are_notified() -> None:
    changed = Counter()
    demand = Demand(changed)
    heard = []
    for count in (1, 2, 3, 1, 0, 0, 2):
        demand.viewers(count)
        heard.append(changed.calls)
    assert heard == [1, 1, 1, 1, 2, 2, 3]
