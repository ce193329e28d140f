"""Messages that repeat are logged at most once in a period."""

from __future__ import annotations

from pi_cam_daemon.system.logs import LogThrottle


def test_the_same_message_is_due_once_in_its_time() -> None:
    throttle = LogThrottle(60.0, 10)
    assert [throttle.due("a", now) for now in (0.0, 1.0, 59.9, 60.0, 61.0)] == [True, False, False, True, False]
    assert throttle.due("b", 61.0)


def test_the_number_of_different_messages_is_bounded_and_the_rest_is_counted() -> None:
    throttle = LogThrottle(60.0, 20)
    assert sum(throttle.due(number, 0.0) for number in range(5000)) == 20
    assert not throttle.due(0, 1.0), "a repeated one is not left out"
    assert (throttle.take_left_out(), throttle.take_left_out()) == (4980, 0)
    assert throttle.due("new", 61.0), "what is past makes room"
