"""Places for connections and viewers, and messages that are not told again and again."""

from __future__ import annotations

import threading

import pytest

from pi_cam_daemon.server.limits import Quota
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.system.logs import LogThrottle


def places() -> Quota:
    return Quota("viewer", Reason.MAX_VIEWERS, Reason.MAX_VIEWERS_PER_ADDRESS)


def test_one_address_cannot_take_the_places_of_all() -> None:
    some = places()
    some.take("a", 3, 2)
    some.take("a", 3, 2)
    with pytest.raises(Refused, match=r"^a has 2 viewers, and http\.max_viewers_per_address") as refused:
        some.take("a", 3, 2)
    assert (refused.value.status, refused.value.reason) == (429, Reason.MAX_VIEWERS_PER_ADDRESS)
    some.take("b", 3, 2)
    with pytest.raises(Refused, match=r"3 viewers already, and http\.max_viewers allows") as refused:
        some.take("c", 3, 2)
    assert (refused.value.status, refused.value.reason) == (503, Reason.MAX_VIEWERS)
    assert (some.taken, some.rejected) == (3, 2)
    some.give_back("a")
    some.take("a", 3, 2)


def test_a_single_place_is_told_in_the_singular() -> None:
    some = places()
    some.take("a", 1, 1)
    with pytest.raises(Refused, match=r"^There is 1 viewer already"):
        some.take("b", 1, 1)
    with pytest.raises(Refused, match=r"^a has 1 viewer, and"):
        some.take("a", 2, 1)


def test_who_is_exempt_may_have_all_but_not_more() -> None:
    some = places()
    for _ in range(3):
        some.take("proxy", 3, 1, exempt=True)
    with pytest.raises(Refused, match="max_viewers allows"):
        some.take("proxy", 3, 1, exempt=True)


def test_a_smaller_limit_takes_effect_as_places_become_free() -> None:
    some = places()
    for _ in range(3):
        some.take("a", 3, 3)
    some.give_back("a")
    with pytest.raises(Refused):
        some.take("a", 1, 3)
    some.give_back("a")
    some.give_back("a")
    some.take("a", 1, 3)


def test_threads_together_take_no_more_than_there_is() -> None:
    some = places()

    def take() -> None:
        for _ in range(50):
            try:
                some.take("a", 100, 100)
            except Refused:
                return

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert some.taken == 100


def test_the_same_message_is_due_once_in_its_time() -> None:
    messages = LogThrottle(60.0)
    assert [messages.due("a", now) for now in (0.0, 1.0, 59.9, 60.0, 61.0)] == [True, False, False, True, False]
    assert messages.due("b", 61.0)


def test_messages_without_end_are_neither_told_nor_remembered() -> None:
    messages = LogThrottle(60.0)
    told = sum(messages.due(number, 0.0) for number in range(5000))
    assert 500 < told < 2000
    assert messages.due("new", 61.0), "what is past makes room"
