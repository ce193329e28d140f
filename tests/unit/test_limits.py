"""Limits of connections and viewers, in total and for each address."""

from __future__ import annotations

import threading

import pytest

from pi_cam_daemon.server.limits import Quota
from pi_cam_daemon.server.refused import Reason, Refused
from tests.kit.lateness import patience


def quota() -> Quota:
    return Quota("viewer", Reason.MAX_VIEWERS, Reason.MAX_VIEWERS_PER_ADDRESS)


def test_one_address_cannot_take_all_places() -> None:
    viewers = quota()
    viewers.take("a", 3, 2)
    viewers.take("a", 3, 2)
    with pytest.raises(Refused, match=r"^a has 2 viewers, and http\.max_viewers_per_address") as refused:
        viewers.take("a", 3, 2)
    assert (refused.value.status, refused.value.reason) == (429, Reason.MAX_VIEWERS_PER_ADDRESS)
    viewers.take("b", 3, 2)
    with pytest.raises(Refused, match=r"3 viewers already, and http\.max_viewers allows") as refused:
        viewers.take("c", 3, 2)
    assert (refused.value.status, refused.value.reason) == (503, Reason.MAX_VIEWERS)
    assert (viewers.taken, viewers.rejected) == (3, 2)
    viewers.give_back("a")
    viewers.take("a", 3, 2)


def test_a_single_viewer_is_reported_in_the_singular() -> None:
    viewers = quota()
    viewers.take("a", 1, 1)
    with pytest.raises(Refused, match=r"^There is 1 viewer already"):
        viewers.take("b", 1, 1)
    with pytest.raises(Refused, match=r"^a has 1 viewer, and"):
        viewers.take("a", 2, 1)


def test_an_exempt_address_is_limited_only_by_the_total() -> None:
    viewers = quota()
    for _ in range(3):
        viewers.take("proxy", 3, 1, exempt=True)
    with pytest.raises(Refused, match="max_viewers allows"):
        viewers.take("proxy", 3, 1, exempt=True)


def test_a_smaller_limit_takes_effect_as_places_become_free() -> None:
    viewers = quota()
    for _ in range(3):
        viewers.take("a", 3, 3)
    viewers.give_back("a")
    with pytest.raises(Refused):
        viewers.take("a", 1, 3)
    viewers.give_back("a")
    viewers.give_back("a")
    viewers.take("a", 1, 3)


def test_the_place_of_one_that_leaves_is_waited_for() -> None:
    viewers = Quota("viewer", Reason.MAX_VIEWERS, Reason.MAX_VIEWERS_PER_ADDRESS, lambda: True)
    viewers.take("a", 1, 1)
    waiting = threading.Thread(target=viewers.take, args=("b", 1, 1))
    waiting.start()
    viewers.give_back("a")
    waiting.join(patience(10))
    assert not waiting.is_alive() and (viewers.taken, viewers.rejected) == (1, 0)
    with pytest.raises(Refused, match="There is 1 viewer already"):  # it stays after all
        viewers.take("a", 1, 1)
    assert viewers.rejected == 1


def test_threads_together_take_no_more_than_there_is() -> None:
    viewers = quota()

    def take() -> None:
        for _ in range(50):
            try:
                viewers.take("a", 100, 100)
            except Refused:
                return

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert viewers.taken == 100
