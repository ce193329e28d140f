import threading
import time

import pytest

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.hub import Audience, Hub
from tests.lateness import patience


def frame(captured: float) -> Frame:
    return Frame(b"<jpeg>", 1, 5, captured, 0.0)


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


def test_a_frame_gives_its_picture_without_a_copy() -> None:
    part = b"<jpeg>"
    picture = Frame(part, 1, 5, 0.0, 0.0).jpeg
    assert bytes(picture) == b"jpeg"
    assert picture.obj is part


def test_the_newest_frame_is_kept_and_no_other() -> None:
    hub = Hub()
    assert hub.newest is None
    first, second = frame(1.0), frame(2.0)
    hub.publish(first)
    assert hub.newest is first
    hub.publish(second)
    assert hub.newest is second


def test_a_frame_that_is_new_enough_is_given_at_once() -> None:
    hub = Hub()
    newest = frame(100.0)
    hub.publish(newest)
    assert hub.wait(captured_since=100.0, timeout=0.0) is newest


def test_a_frame_that_is_too_old_is_given_to_nobody() -> None:
    hub = Hub()
    hub.publish(frame(99.9))
    begin = time.monotonic()
    assert hub.wait(captured_since=100.0, timeout=0.1) is None
    assert 0.1 <= time.monotonic() - begin < patience(2.0)


def test_an_empty_hub_is_waited_for_no_longer_than_asked() -> None:
    assert Hub().wait(captured_since=0.0, timeout=0.05) is None


def test_everybody_who_waits_is_woken_by_the_first_frame_that_is_new_enough() -> None:
    hub = Hub()
    found: list[Frame | None] = []
    threads = [threading.Thread(target=lambda: found.append(hub.wait(50.0, 10.0))) for _ in range(5)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    hub.publish(frame(49.0))
    fresh = frame(51.0)
    hub.publish(fresh)
    for thread in threads:
        thread.join(patience(10))
    assert found == [fresh] * 5
    assert time.monotonic() - begin < patience(5)


def test_nobody_wants_pictures_at_first() -> None:
    assert Audience(Counter()).wanted_until(1e6) < time.monotonic()


def test_pictures_are_wanted_without_end_while_somebody_watches() -> None:
    audience = Audience(Counter())
    audience.viewers(1)
    assert audience.wanted_until(0.0) == float("inf")


def test_pictures_are_wanted_for_a_while_after_the_last_viewer_left() -> None:
    audience = Audience(Counter())
    audience.viewers(2)
    audience.viewers(0)
    assert audience.wanted_until(30.0) == pytest.approx(time.monotonic() + 30, abs=1)


def test_a_snapshot_is_a_wish_for_a_while() -> None:
    changed = Counter()
    audience = Audience(changed)
    audience.want(0)
    assert changed.calls == 1
    assert audience.wanted_until(30.0) == pytest.approx(time.monotonic() + 30, abs=1)


def test_only_the_first_to_come_and_the_last_to_leave_are_news() -> None:
    changed = Counter()
    audience = Audience(changed)
    heard = []
    for count in (1, 2, 3, 1, 0, 0, 2):
        audience.viewers(count)
        heard.append(changed.calls)
    assert heard == [1, 1, 1, 1, 2, 2, 3]
