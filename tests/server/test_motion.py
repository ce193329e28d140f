"""Motion as the whole daemon tells it: GET /motion, and a camera that runs because it watches.

In the test picture a mark crosses a strip below the middle; above it nothing moves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import Daemon, running
from tests.kit.wait import until

STRIP = [0.0, 0.62, 1.0, 0.1]
BARS = [0.0, 0.0, 1.0, 0.5]
SETTINGS = {
    "video.width": 320,
    "video.height": 240,
    "motion.enabled": True,
    "motion.zones": [STRIP],
    "motion.quiet_seconds": 1.0,
    "source.capture": "on-demand",
    "source.idle_seconds": 0.0,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("motion") / "daemon", SETTINGS) as daemon:
        yield daemon


def motion(daemon: Daemon) -> dict[str, Any]:
    status, headers, body = daemon.get("/motion")
    assert (status, headers["content-type"]) == (200, "application/json")
    return dict(json.loads(body))


def judged(daemon: Daemon, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first answer that is judged and fulfils *condition*."""

    def found() -> dict[str, Any] | None:
        table = motion(daemon)
        return table if not table["suspended"] and condition(table) else None

    return dict(until("such a look", found, 20))


def test_what_moves_in_a_zone_is_told_though_nobody_watches(shared: Daemon) -> None:
    table = judged(shared, lambda table: table["moving"] and table["boxes"])
    assert (table["enabled"], table["needed"]) == (True, 0.005)
    assert 0.005 < table["share"] < 0.2
    for x, y, width, height in table["boxes"]:
        assert 0.58 < y < y + height < 0.76
        assert 0 <= x < x + width <= 1
    state = shared.state()
    assert (state["state"], state["viewers"], state["camera_process"]["starts"]) == ("streaming", 0, 1)


def test_nobody_is_sent_the_pictures_that_are_looked_at(shared: Daemon) -> None:
    """One a second is sent, so that the server has a recent one; five are looked at."""
    judged(shared, lambda table: table["moving"])
    until("an older picture than a look", lambda: shared.state()["frames"]["age_seconds"] > 0.5)


def test_another_zone_acts_at_once(shared: Daemon) -> None:
    status, _, body = shared.post("/settings", json.dumps({"motion.zones": [BARS]}).encode())
    assert status == 200, body
    table = judged(shared, lambda table: not table["moving"])
    assert (table["share"], table["boxes"]) == (0, [])
    status, _, body = shared.post("/settings", b'{"motion.zones": null}')
    assert status == 200, body
    judged(shared, lambda table: table["moving"])


def test_while_it_is_off_nothing_is_asked_and_the_camera_may_sleep(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "motion.enabled": False}) as daemon:
        daemon.wait_for_state("idle")
        off = {"enabled": False, "moving": False, "share": 0, "needed": 0.005, "suspended": "off", "boxes": []}
        assert motion(daemon) == off


def test_without_a_camera_nothing_is_judged(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "source.kind": "usb", "usb.device": "/dev/none"}) as daemon:
        assert motion(daemon)["suspended"] == "no-picture"
